"""The downward API: values of a pod that its containers may see (fieldRef), in env and in files."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from podloom.model.errors import Rejected

_KEYED = re.compile(r"^metadata\.(labels|annotations)\['(.*)'\]$")


@dataclass(frozen=True)
class NodeFacts:
    """What a pod may see of its node."""

    name: str
    ips: tuple[str, ...]
    allocatable: Mapping[str, str] = field(default_factory=dict)
    memory_bytes: int = 1 << 30
    dns_servers: tuple[str, ...] = ()
    dns_domain: str = "cluster.local"


def _quoted(pairs: Mapping[str, str]) -> str:
    """`key="value"` lines, sorted: how the downward API writes labels and annotations to files."""
    return "\n".join(f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in sorted(pairs.items()))


def field_value(pod: Mapping[str, Any], path: str, node: NodeFacts, pod_ips: Sequence[str]) -> str:
    """The value of fieldRef.fieldPath `path`; Rejected when the downward API has no such field."""
    meta, spec = pod["metadata"], pod["spec"]
    keyed = _KEYED.match(path)
    if keyed:
        return str((meta.get(keyed[1]) or {}).get(keyed[2], ""))
    simple = {
        "metadata.name": meta.get("name", ""),
        "metadata.namespace": meta.get("namespace", ""),
        "metadata.uid": meta.get("uid", ""),
        "metadata.labels": _quoted(meta.get("labels") or {}),
        "metadata.annotations": _quoted(meta.get("annotations") or {}),
        "spec.nodeName": node.name,
        "spec.serviceAccountName": spec.get("serviceAccountName") or "default",
        "status.hostIP": node.ips[0] if node.ips else "",
        "status.hostIPs": ",".join(node.ips),
        "status.podIP": pod_ips[0] if pod_ips else "",
        "status.podIPs": ",".join(pod_ips),
    }
    if path not in simple:
        raise Rejected("read a pod field for the downward API", f"unsupported fieldPath: {path}")
    return str(simple[path])
