"""The recorded answers of a real API server, replayed; see replay.py."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import replay

MATCHED_PERCENT_MIN = 90
UNLISTED_MAX = 8  # answers that depend on how far controllers have come differ now and then


@pytest.mark.timeout(600)
def test_recordings_match() -> None:
    """Nine in ten recorded answers are given again, and what differs is listed with its reason."""
    folder = replay.recordings()
    if not folder.is_dir():
        pytest.skip(f"recordings of a real API server are missing: {folder}")
    reports = replay.play_all(list(replay.FILES), folder)
    shown = {name: f"{r.matched}/{len(r.outcomes)}" for name, r in reports.items()}
    total = sum(len(r.outcomes) for r in reports.values())
    matched = sum(r.matched for r in reports.values())
    print(shown)
    assert total == 713
    assert 100 * matched / total >= MATCHED_PERCENT_MIN, shown
    others = replay.unlisted(reports)
    assert len(others) <= UNLISTED_MAX, others
    for name, percent in (("errors.json", 95), ("patch.json", 95), ("crd.json", 90), ("services.json", 90)):
        report = reports[name]
        assert 100 * report.matched / len(report.outcomes) >= percent, (name, shown[name])
