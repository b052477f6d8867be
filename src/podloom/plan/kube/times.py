"""Kubernetes timestamps to epoch seconds and back (RFC 3339; metav1.Time has seconds, MicroTime microseconds)."""

from __future__ import annotations

from datetime import UTC, datetime


def parse_time(text: str | None) -> float:
    """Epoch seconds of an RFC 3339 time; 0.0 for an absent one."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() if text else 0.0


def format_time(epoch_s: float) -> str:
    """metav1.Time: whole seconds, Z."""
    return datetime.fromtimestamp(int(epoch_s), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def format_micro_time(epoch_s: float) -> str:
    """metav1.MicroTime: microseconds, Z (leases, event series)."""
    return datetime.fromtimestamp(epoch_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
