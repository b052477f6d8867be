"""What every test shares: capabilities by name, and no silent skips in CI.

A test marked `root` or `lab` is skipped with the name of what is missing. With PODLOOM_CI=1 a skip whose reason is not
listed in tests/expected_skips.txt fails the run: a machine that can do something must do it.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# The machines are shared and slow at times: how long a generated case takes says nothing of the code.
settings.register_profile("podloom", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("podloom")

# The set-up puts kubectl beside the interpreter when the machine has none that is new enough.
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

EXPECTED = Path(__file__).parent / "expected_skips.txt"
ROOT_PROGRAMS = ("ip", "nft", "busybox", "curl", "sysctl")
LAB_PROGRAMS = (*ROOT_PROGRAMS, "containerd", "runc", "kubectl", "nginx")


def pytest_configure(config: pytest.Config) -> None:
    """kubectl keeps what it discovers by address and port, which tests use again: each run has a cache of its own."""
    folder = tempfile.mkdtemp(prefix="podloom-kubectl-")
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
    os.environ["KUBECACHEDIR"] = folder


def missing_for(item: pytest.Item) -> str:
    """Why this machine cannot run the test; empty when it can."""
    lab = item.get_closest_marker("lab")
    if not lab and not item.get_closest_marker("root"):
        return ""
    if os.geteuid() != 0:
        return "needs root"
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    gone = [program for program in (LAB_PROGRAMS if lab else ROOT_PROGRAMS) if not shutil.which(program, path=path)]
    return f"needs {', '.join(gone)}" if gone else ""


def pytest_runtest_setup(item: pytest.Item) -> None:
    if reason := missing_for(item):
        pytest.skip(reason)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if os.environ.get("PODLOOM_CI") != "1":
        return
    expected = [line for line in EXPECTED.read_text().splitlines() if line and not line.startswith("#")]
    reports = terminalreporter.stats.get("skipped", [])
    reasons = {
        str(r.longrepr[2]).removeprefix("Skipped: ") if isinstance(r.longrepr, tuple) else str(r.longrepr)
        for r in reports
    }
    unexpected = sorted(reason for reason in reasons if not any(part in reason for part in expected))
    if unexpected:
        terminalreporter.write_line("skipped though not expected:", red=True)
        for reason in unexpected:
            terminalreporter.write_line(f"  {reason}")
        terminalreporter._session.exitstatus = pytest.ExitCode.TESTS_FAILED  # type: ignore[union-attr]
