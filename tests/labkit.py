"""A lab as its user has it, for tests: the podloom command and kubectl, with state, tag and port of its own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from podloom.lab.processes import Running, leaders

PODLOOM = str(Path(sys.executable).with_name("podloom"))
GROUP, CLUSTER = "testGroup", "overlay"


class Lab:
    """The lab as its user has it: the podloom command and kubectl."""

    def __init__(self, state: Path, *, suffix: str = "") -> None:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = str(listener.getsockname()[1])
        self.state = state
        self.tag = f"tl{os.getpid() % 100000}{suffix}"
        self.environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PODLOOM_STATE": str(state),
            "PODLOOM_TAG": self.tag,
            "PODLOOM_PORT": port,
            "KUBECONFIG": str(state / "kubeconfig"),
        }

    def run(self, *command: str, check: bool = True, stdin: str = "", timeout_s: float = 120) -> Any:
        result = subprocess.run(
            command, env=self.environment, input=stdin, capture_output=True, text=True, timeout=timeout_s, check=False
        )
        if check and result.returncode != 0:
            raise AssertionError(f"{' '.join(command)}: exit {result.returncode}\n{result.stdout}\n{result.stderr}")
        return result

    def podloom(self, *arguments: str, **options: Any) -> Any:
        """The command's JSON answer; None when it prints nothing."""
        result = self.run(PODLOOM, *arguments, "-o", "json", **options)
        return json.loads(result.stdout) if result.stdout.strip() else None

    def kubectl(self, *arguments: str, **options: Any) -> str:
        output: str = self.run("kubectl", *arguments, **options).stdout
        return output

    def get(self, *arguments: str) -> Any:
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def running(self) -> list[Running]:
        return leaders(self.tag)


def wait_for(condition: Callable[[], Any], what: str, timeout_s: float = 30) -> Any:
    """The first true value of `condition`; fails naming `what`."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what}: not within {timeout_s} s"
        time.sleep(0.1)
    return value
