"""The Status errors of the Kubernetes API, worded as the reference server words them.

The problem: clients (kubectl, controllers) decide by reason and details, people by message; all three are an
interface. Each function builds one (k8s.io/apimachinery api/errors; checked by tests/parity).
"""

from __future__ import annotations

from collections.abc import Sequence

from podloom.kube.api.contract import Attributes, Cause, Object, ResourceType, StatusError, UserInfo

SERVICE_TOO_OLD_CONTINUE = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list "
    "without the continue parameter, or use the continue token in this response to retrieve the remainder of the "
    "results. Continuing with the provided token results in an inconsistent list - objects that were created, "
    "modified, or deleted between the time the first chunk was returned and now may show up in the list."
)


def _details(group: str, kind: str, name: str = "") -> Object:
    details: Object = {"name": name} if name else {}
    if group:
        details["group"] = group
    details["kind"] = kind
    return details


def bad_request(message: str) -> StatusError:
    return StatusError(400, "BadRequest", message)


def unauthorized() -> StatusError:
    return StatusError(401, "Unauthorized", "Unauthorized")


def not_found(type_: ResourceType, name: str) -> StatusError:
    return StatusError(
        404,
        "NotFound",
        f'{type_.group_resource} "{name}" not found',
        details=_details(type_.group, type_.plural, name),
    )


def no_such_resource() -> StatusError:
    return EmptyDetails(404, "NotFound", "the server could not find the requested resource")


def method_not_allowed() -> StatusError:
    return EmptyDetails(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")


class EmptyDetails(StatusError):
    """A Status whose details are present and empty, as the reference server's router answers."""

    def status(self) -> Object:
        body = super().status()
        code = body.pop("code")
        body["details"] = self.details
        body["code"] = code
        return body


class Plain(StatusError):
    """An answer in plain text, outside the API conventions (unknown paths)."""


def page_not_found() -> StatusError:
    return Plain(404, "NotFound", "404 page not found\n")


def already_exists(type_: ResourceType, name: str, *, deleting: bool = False) -> StatusError:
    text = f'{type_.group_resource} "{name}" already exists'
    return StatusError(
        409,
        "AlreadyExists",
        f"object is being deleted: {text}" if deleting else text,
        details=_details(type_.group, type_.plural, name),
    )


def conflict(type_: ResourceType, name: str, why: str = "") -> StatusError:
    why = why or ("the object has been modified; please apply your changes to the latest version and try again")
    return StatusError(
        409,
        "Conflict",
        f'Operation cannot be fulfilled on {type_.group_resource} "{name}": {why}',
        details=_details(type_.group, type_.plural, name),
    )


def precondition(type_: ResourceType, name: str, why: str) -> StatusError:
    """A failed delete precondition; the reference server names the kind here, not the resource."""
    kind = f"{type_.kind}.{type_.group}" if type_.group else type_.kind
    return StatusError(
        409,
        "Conflict",
        f'Operation cannot be fulfilled on {kind} "{name}": {why}',
        details=_details(type_.group, type_.kind, name),
    )


def invalid(group: str, kind: str, name: str, causes: Sequence[Cause]) -> StatusError:
    """422 with every cause; the message lists each distinct one once."""
    shown = list(dict.fromkeys(f"{c.field}: {c.message}" if c.field else c.message for c in causes))
    text = shown[0] if len(shown) == 1 else f"[{', '.join(shown)}]"
    qualified = f"{kind}.{group}" if group else kind
    details = _details(group, kind, name)
    return StatusError(422, "Invalid", f'{qualified} "{name}" is invalid: {text}', details=details, causes=causes)


def forbidden(type_: ResourceType, name: str, why: str) -> StatusError:
    shown = f'{type_.group_resource} "{name}"' if name else type_.group_resource
    return StatusError(
        403, "Forbidden", f"{shown} is forbidden: {why}", details=_details(type_.group, type_.plural, name)
    )


def denied(user: UserInfo, asked: Attributes, reason: str = "") -> StatusError:
    """403 of the authorizer for a resource or a path."""
    tail = f": {reason}" if reason else ""
    if asked.path:
        message = f'forbidden: User "{user.name}" cannot {asked.verb} path "{asked.path}"{tail}'
        return EmptyDetails(403, "Forbidden", message)
    resource = f"{asked.resource}/{asked.subresource}" if asked.subresource else asked.resource
    where = f'in the namespace "{asked.namespace}"' if asked.namespace else "at the cluster scope"
    qualified = f"{asked.resource}.{asked.group}" if asked.group else asked.resource
    shown = f'{qualified} "{asked.name}"' if asked.name else qualified
    return StatusError(
        403,
        "Forbidden",
        f'{shown} is forbidden: User "{user.name}" cannot {asked.verb} resource "{resource}" '
        f'in API group "{asked.group}" {where}{tail}',
        details=_details(asked.group, asked.resource, asked.name),
    )


def unsupported_media_type(accepted: Sequence[str]) -> StatusError:
    return StatusError(
        415,
        "UnsupportedMediaType",
        "the body of the request was in an unknown format - accepted media types include: " + ", ".join(accepted),
    )


def too_large(limit: int) -> StatusError:
    return StatusError(413, "RequestEntityTooLarge", f"Request entity too large: limit is {limit}")


def expired(message: str) -> StatusError:
    return StatusError(410, "Expired", message)


class ExpiredContinue(StatusError):
    """410 for a continue token, carrying the token of an inconsistent continuation."""

    def __init__(self, token: str) -> None:
        super().__init__(410, "Expired", SERVICE_TOO_OLD_CONTINUE)
        self._token = token

    def status(self) -> Object:
        body = super().status()
        body["metadata"] = {"continue": self._token}
        return body


def too_large_revision(wanted: int, current: int) -> StatusError:
    return StatusError(
        504,
        "Timeout",
        f"Timeout: Too large resource version: {wanted}, current: {current}",
        details={
            "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
            "retryAfterSeconds": 1,
        },
    )


def internal(message: str) -> StatusError:
    """500 without a reason, as the reference server answers plain Go errors."""
    return StatusError(500, "", message)


def internal_error(message: str) -> StatusError:
    return StatusError(
        500, "InternalError", f"Internal error occurred: {message}", details={"causes": [{"message": message}]}
    )


def unavailable(message: str) -> StatusError:
    return StatusError(503, "ServiceUnavailable", message)
