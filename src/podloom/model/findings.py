"""Findings: what a rule has to say about a wish.

The problem: a user who made four mistakes wants to hear four, each with the code the real service uses, what it
is about, which requirement it keeps and what to do. So rules return findings instead of raising, and the answer to
a request is made of all of them at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum


class Severity(Enum):
    """ERROR refuses the request; WARNING is shown and stored with the resource."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True)
class Finding:
    """One thing found: ARM error code, message, ARM target, requirement ID, what to do."""

    code: str
    message: str
    target: str = ""
    requirement: str = ""
    fix: str = ""
    severity: Severity = Severity.ERROR
    status: int = 400

    @property
    def refuses(self) -> bool:
        return self.severity is Severity.ERROR


class Refusal(Exception):
    """A request that is refused, with every reason; `findings` is never empty."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings = tuple(findings)
        super().__init__("; ".join(f"({f.code}) {f.message}" for f in self.findings))


def errors_of(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    return tuple(finding for finding in findings if finding.refuses)


def warnings_of(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    return tuple(finding for finding in findings if not finding.refuses)
