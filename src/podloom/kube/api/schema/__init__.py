"""The schema machinery of the API server: decode, patch, managed fields, custom resources, OpenAPI.

Pure: objects in, objects out; the only I/O is reading the built-in schemas once. The server (kube/api)
calls `Schemas`; nothing here knows about storage, HTTP or particular built-in kinds. The order in which a
server uses it is that of kube-apiserver:

    create  parse, decode, Kind.default, update_managed_fields, Kind.admit, prepare_create, validate, finish, store
    PUT     parse, decode, Kind.default, update_managed_fields(old), Kind.admit, prepare_update, validate, finish, store
    PATCH   apply_patch, Kind.default, then update_managed_fields unless Patched.applied, Kind.admit, prepare, ...

Managed fields are computed after defaults and before admission and prepare_*: what admission or the server
allocates (service addresses, token volumes) has no owner.
"""

from __future__ import annotations

from podloom.kube.api.schema.schemas import Parsed, Patched, Schemas

__all__ = ["Parsed", "Patched", "Schemas"]
