"""Cloud, API server and nodes say one version, and one that constraints of charts accept."""

from __future__ import annotations

import re
from pathlib import Path

import podloom
from podloom.kube.api.health import version
from podloom.model.versions import GIT_VERSION, KUBERNETES_VERSION
from podloom.plan.address.defaults import cluster_defaults

ROOT = Path(podloom.__file__).parent


def test_the_server_and_the_cloud_say_the_same() -> None:
    filled = cluster_defaults({}, None, group="g", name="n", location="westeurope", subscription="s")
    assert version()["gitVersion"] == GIT_VERSION == f"v{filled['kubernetesVersion']}"


def test_it_is_a_release_and_no_prerelease() -> None:
    assert re.fullmatch(r"v\d+\.\d+\.\d+", GIT_VERSION)


def test_nobody_else_holds_a_version_of_its_own() -> None:
    """A literal in another module would stay behind at the next change."""
    literal = re.compile(rf'"v?{re.escape(KUBERNETES_VERSION.rpartition(".")[0])}\.\d+|"v1\.\d+\.[1-9]')
    found = sorted(str(path.relative_to(ROOT)) for path in ROOT.rglob("*.py") if literal.search(path.read_text()))
    assert found == ["kube/api/schema/registry.py", "model/versions.py"]
