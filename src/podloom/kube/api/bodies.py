"""Request bodies: size, media type, decoding, and agreement with the URL.

The problem: a body may come as JSON or YAML, name another object than the URL, or carry fields nobody knows; all
this is the same for every write.
"""

from __future__ import annotations

from collections.abc import Sequence

from podloom.kube.api import errors, protobuf
from podloom.kube.api.contract import Object, ResourceType
from podloom.kube.api.core import Api, Request
from podloom.kube.api.negotiate import MEDIA_TYPES
from podloom.kube.api.schema import Parsed


def media_type(content_type: str) -> str:
    """The media type without parameters; JSON when none was sent."""
    return content_type.split(";", 1)[0].strip().lower() or "application/json"


def decode(
    api: Api, request: Request, type_: ResourceType, field_validation: str = "Warn", *, known: Sequence[str] = ()
) -> Object:
    """The object in the body, as the server's types hold it; warnings go to the request.

    Raises 415 and 400.
    """
    media = media_type(request.content_type)
    if media == protobuf.MEDIA_TYPE and not type_.custom:
        parsed = _from_protobuf(request.body, type_)
    elif media in ("application/json", "application/yaml", *known):
        parsed = api.schemas.parse(request.body, media, type_.kind, custom=type_.custom)
    else:
        raise errors.unsupported_media_type(MEDIA_TYPES)
    obj, warnings = api.schemas.decode(type_, parsed.obj, field_validation, duplicates=parsed.duplicates)
    if field_validation != "Ignore":
        request.warnings += [w for w in warnings if w not in request.warnings]
    return obj


def _from_protobuf(body: bytes, type_: ResourceType) -> Parsed:
    try:
        return Parsed(protobuf.decode(body))
    except ValueError as exc:
        message = f"the object provided is unrecognized (must be of type {type_.kind}): {exc}"
        raise errors.bad_request(message) from exc


def agree(request: Request, obj: Object, *, named: bool) -> None:
    """Fill namespace and name from the URL; raises 400 when the body says otherwise."""
    meta = obj.setdefault("metadata", {})
    type_ = request.served.type
    if type_.namespaced:
        if meta.get("namespace", "") not in ("", request.namespace):
            raise errors.bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        meta["namespace"] = request.namespace
    else:
        meta.pop("namespace", None)
    if not named:
        return
    name = meta.get("name", "")
    if not name:
        meta["name"] = request.name
    elif name != request.name:
        raise errors.bad_request(f"the name of the object ({name}) does not match the name on the URL ({request.name})")
