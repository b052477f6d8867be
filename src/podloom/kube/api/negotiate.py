"""Which representation an answer has: JSON or YAML, and whole object, Table or metadata only.

The problem: one Accept header lists alternatives with parameters (`application/json;as=Table;v=v1;g=meta.k8s.io,
application/json`) and the first acceptable one decides. protobuf is not served: clients that offer JSON too get
JSON, others get 406 (Kubernetes "API concepts", "Alternate representations of resources").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from podloom.kube.api.contract import StatusError
from podloom.kube.api.errors import EmptyDetails

MEDIA_TYPES = ("application/json", "application/yaml", "application/vnd.kubernetes.protobuf")
_STREAMS = ("application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch")
_TRANSFORMS = ("Table", "PartialObjectMetadata", "PartialObjectMetadataList")


@dataclass(frozen=True)
class Clause:
    """One alternative of an Accept header."""

    media: str
    params: Mapping[str, str] = field(default_factory=dict)
    q: float = 1.0


@dataclass(frozen=True)
class Format:
    """The chosen representation; transform is empty, Table or PartialObjectMetadata."""

    yaml: bool = False
    transform: str = ""
    version: str = "v1"
    pretty: bool = False

    @property
    def content_type(self) -> str:
        return "application/yaml" if self.yaml else "application/json"


@lru_cache(maxsize=256)
def parse_accept(header: str) -> tuple[Clause, ...]:
    """The alternatives, best first (by q, then as written)."""
    clauses = []
    for part in header.split(","):
        pieces = [p.strip() for p in part.split(";")]
        if not pieces[0]:
            continue
        params: dict[str, str] = {}
        q = 1.0
        for piece in pieces[1:]:
            key, _, value = piece.partition("=")
            if key == "q":
                q = float(value) if value.replace(".", "", 1).isdigit() else 1.0
            else:
                params[key] = value.strip('"')
        clauses.append(Clause(pieces[0].lower(), params, q))
    return tuple(sorted(clauses, key=lambda c: -c.q))


def _wanted(media: str, name: str) -> bool:
    return media in (name, "*/*", "application/*")


def not_acceptable() -> StatusError:
    return StatusError(406, "NotAcceptable", "only the following media types are accepted: " + ", ".join(MEDIA_TYPES))


def no_representation(*, stream: bool) -> StatusError:
    """406 when not even the media type is one of ours (the router's words)."""
    offered = ", ".join((*MEDIA_TYPES, *_STREAMS) if stream else MEDIA_TYPES)
    return EmptyDetails(406, "NotAcceptable", f"406: Not Acceptable\n\nAvailable representations: {offered}")


def negotiate(header: str, *, collection: bool = False, pretty: bool = False) -> Format:
    """The first acceptable alternative of an Accept header for a resource; raises 406."""
    clauses = parse_accept(header or "*/*")
    if not any(_wanted(c.media, m) for c in clauses for m in MEDIA_TYPES):
        raise no_representation(stream=collection)
    for clause in clauses:
        as_kind = clause.params.get("as", "")
        if as_kind:
            known = as_kind in _TRANSFORMS and clause.params.get("g") == "meta.k8s.io"
            if not known or clause.params.get("v") not in ("v1", "v1beta1"):
                continue
        if _wanted(clause.media, "application/json"):
            transform = as_kind.removesuffix("List")
            return Format(False, transform, clause.params.get("v", "v1") if as_kind else "v1", pretty)
        if clause.media == "application/yaml" and not as_kind:
            return Format(yaml=True)
    raise not_acceptable()
