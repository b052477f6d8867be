"""The documents inside ip-masq-agent ConfigMaps (YAML or JSON, one per key)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml


def parse_masq_configmap(obj: Mapping[str, Any]) -> list[tuple[str, dict[str, Any] | str]]:
    """(name, document) per key of a ConfigMap's data; what cannot be decoded gives its error's text instead."""
    name = obj["metadata"]["name"]
    found: list[tuple[str, dict[str, Any] | str]] = []
    for key, text in sorted((obj.get("data") or {}).items()):
        try:
            document = yaml.safe_load(text) or {}
        except yaml.YAMLError as error:
            found.append((f"{name}/{key}", f"not YAML: {' '.join(str(error).split())}"))
            continue
        found.append((f"{name}/{key}", document if isinstance(document, dict) else "not a mapping"))
    return found
