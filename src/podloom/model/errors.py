"""Errors that carry a decision.

The problem: a caller must know what to do with an error without reading its words. So each family is a
decision, each maps once to a CNI error code (CNI specification, "Error") and once to an ARM code, and the
wording is always the same three parts: what was attempted on which object, what was found, what to do.
"""

from __future__ import annotations

from typing import ClassVar


class PodloomError(Exception):
    """Base of all our errors: attempted (with the object's name), found, remedy."""

    cni_code: ClassVar[int] = 999
    arm_code: ClassVar[str] = "InternalServerError"
    http_status: ClassVar[int] = 500

    def __init__(self, attempted: str, found: str, remedy: str = "", *, target: str = "") -> None:
        self.attempted = attempted
        self.found = found
        self.remedy = remedy
        self.target = target
        super().__init__(self.message)

    @property
    def message(self) -> str:
        text = f"{self.attempted}: {self.found}"
        return f"{text}; {self.remedy}" if self.remedy else text


class Rejected(PodloomError):
    """The user mends it: the input is wrong."""

    cni_code = 7
    arm_code = "ValidationError"
    http_status = 400


class Stale(PodloomError):
    """Read again: the object changed or is gone since it was read."""

    cni_code = 11
    arm_code = "Conflict"
    http_status = 409


class Unavailable(PodloomError):
    """Back off and try again: something we need does not answer."""

    cni_code = 11
    arm_code = "ServiceUnavailable"
    http_status = 503


class Unsupported(PodloomError):
    """The feature is off here; the reason is shown."""

    cni_code = 999
    arm_code = "NotSupported"
    http_status = 400


class Exhausted(PodloomError):
    """Capacity is used up: addresses, ports, map entries."""

    cni_code = 11
    arm_code = "CapacityExhausted"
    http_status = 409


class Bug(PodloomError):
    """An invariant of ours does not hold: crash, so it is seen."""
