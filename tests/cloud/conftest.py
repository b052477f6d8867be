"""A running cloud per module, emptied after each test the way users would empty it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from cloudkit import CloudProcess, empty
from podloom.drivers.arm import CloudClient


@pytest.fixture(scope="module")
def _running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudProcess]:
    process = CloudProcess(tmp_path_factory.mktemp("cloud"))
    process.start()
    yield process
    process.stop()


@pytest.fixture
def cloud(_running: CloudProcess) -> CloudProcess:
    _running.ensure_started()
    return _running


@pytest.fixture
async def client(cloud: CloudProcess) -> AsyncIterator[CloudClient]:
    async with cloud.client() as found:
        yield found
    cloud.ensure_started()
    async with cloud.client() as found:
        await empty(found)
