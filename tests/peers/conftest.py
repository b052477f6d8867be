"""An API server with its controllers, and kubectl on it."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_PATH = Path(__file__).parents[1] / "kube" / "controllers" / "conftest.py"
_SPEC = importlib.util.spec_from_file_location("controllers_conftest", _PATH)
assert _SPEC is not None and _SPEC.loader is not None
_servers = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_servers)


class Kubectl:
    """kubectl with an administrator's kubeconfig."""

    def __init__(self, kubeconfig: Path) -> None:
        self.environment = {**os.environ, "KUBECONFIG": str(kubeconfig), "HOME": str(kubeconfig.parent)}

    def __call__(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        command = ["kubectl", *arguments]
        result = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False, timeout=60)
        if check and result.returncode != 0:
            raise AssertionError(f"{' '.join(command)}: exit {result.returncode}\n{result.stdout}\n{result.stderr}")
        return result

    def get(self, *arguments: str) -> Any:
        return json.loads(self("get", *arguments, "-o", "json").stdout)


@pytest.fixture(scope="module")
def kubectl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    """kubectl against an API server with all controllers and no nodes."""
    if not shutil.which("kubectl"):
        pytest.skip("needs kubectl")
    api = _servers.ApiServer(tmp_path_factory.mktemp("peers"))
    api.start()
    controllers = _servers.Controllers(api)
    controllers.start()
    yield Kubectl(api.kubeconfig)
    controllers.stop()
    api.stop()
