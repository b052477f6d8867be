"""Plain decoding and merging where the schema machinery has no answer yet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
import yaml

from podloom.kube.api import errors
from podloom.kube.api.contract import Kind, Object, ResourceType
from podloom.kube.api.schema import Parsed, Patched, Schemas


def _merge(target: Any, change: Any) -> Any:
    if not isinstance(change, dict):
        return change
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in change.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _merge(result.get(key), value)
    return result


class Lenient(Schemas):
    def set_types(self, types: Sequence[ResourceType]) -> None:
        try:
            super().set_types(types)
        except NotImplementedError:
            pass

    def add_crd(self, crd: Object) -> list[Kind]:
        try:
            return super().add_crd(crd)
        except NotImplementedError:
            return []

    def crd_kind(self) -> Kind:
        try:
            return super().crd_kind()
        except NotImplementedError:
            return Kind()

    def settle_crd(self, crd: Object, others: Sequence[Object], now: str) -> Object | None:
        try:
            return super().settle_crd(crd, others, now)
        except NotImplementedError:
            return None

    def parse(self, body: bytes, media_type: str, kind: str) -> Parsed:
        try:
            return super().parse(body, media_type, kind)
        except NotImplementedError:
            pass
        try:
            obj = yaml.safe_load(body) if "yaml" in media_type else orjson.loads(body)
        except (ValueError, yaml.YAMLError) as exc:
            raise errors.bad_request(str(exc)) from exc
        return Parsed(obj)

    def decode(
        self, rtype: ResourceType, obj: Object, field_validation: str = "Warn", *, duplicates: Sequence[str] = ()
    ) -> tuple[Object, list[str]]:
        try:
            return super().decode(rtype, obj, field_validation, duplicates=duplicates)
        except NotImplementedError:
            obj.setdefault("kind", rtype.kind)
            obj.setdefault("apiVersion", rtype.group_version)
            return obj, []

    def finish(self, rtype: ResourceType, obj: Object) -> Object:
        try:
            return super().finish(rtype, obj)
        except NotImplementedError:
            return obj

    def patch_media_types(self, rtype: ResourceType) -> tuple[str, ...]:
        try:
            return super().patch_media_types(rtype)
        except NotImplementedError:
            names = ("json-patch+json", "merge-patch+json", "strategic-merge-patch+json", "apply-patch+yaml")
            return tuple(f"application/{n}" for n in names)

    def apply_patch(
        self, content_type: str, rtype: ResourceType, current: Object | None, body: bytes, **kw: Any
    ) -> Patched:
        try:
            return super().apply_patch(content_type, rtype, current, body, **kw)
        except NotImplementedError:
            return Patched(_merge(current or {}, yaml.safe_load(body)))

    def update_managed_fields(self, rtype: ResourceType, new: Object, old: Object | None, **kw: Any) -> None:
        try:
            super().update_managed_fields(rtype, new, old, **kw)
        except NotImplementedError:
            pass

    def patch_scale_fields(self, rtype: ResourceType, new: Object, old: Object, **kw: Any) -> None:
        try:
            super().patch_scale_fields(rtype, new, old, **kw)
        except NotImplementedError:
            pass

    def openapi_v3_index(self) -> Object:
        try:
            return super().openapi_v3_index()
        except NotImplementedError:
            return {"paths": {}}

    def openapi_v3(self, path: str) -> Object | None:
        try:
            return super().openapi_v3(path)
        except NotImplementedError:
            return None

    def openapi_v2(self) -> Object:
        try:
            return super().openapi_v2()
        except NotImplementedError:
            return {"swagger": "2.0", "paths": {}, "definitions": {}}


def namespaces(_settings: object) -> list[Object]:
    return [
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": n, "labels": {"kubernetes.io/metadata.name": n}},
            "spec": {"finalizers": ["kubernetes"]},
            "status": {"phase": "Active"},
        }
        for n in ("default", "kube-system", "kube-public", "kube-node-lease")
    ]
