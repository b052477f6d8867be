"""One lab and one overlay cluster for the session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from labkit import CLUSTER, GROUP, PODLOOM, Lab


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    made = Lab(tmp_path_factory.mktemp("lab") / "state")
    try:
        made.podloom("lab", "up")
        yield made
    finally:
        made.run(PODLOOM, "lab", "down", "--purge", "--yes", check=False)


@pytest.fixture(scope="session")
def cluster(lab: Lab) -> Lab:
    """An overlay cluster of two nodes, created with the documented flags."""
    lab.podloom("group", "create", "--name", GROUP, "--location", "westcentralus")
    flags = ["--network-plugin", "azure", "--network-plugin-mode", "overlay", "--pod-cidr", "192.168.0.0/16"]
    names = ["--name", CLUSTER, "--resource-group", GROUP, "--location", "westcentralus"]
    lab.podloom("aks", "create", *names, *flags, "--node-count", "2", "--generate-ssh-keys")
    lab.podloom("aks", "get-credentials", "--name", CLUSTER, "--resource-group", GROUP)
    return lab
