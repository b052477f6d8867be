"""The lab a command talks to, and one client for its duration."""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from podloom.model.arm import ResourceId
from podloom.model.errors import Unavailable

if TYPE_CHECKING:
    from podloom.drivers.arm import CloudClient

DEFAULT_STATE = "/var/lib/podloom/lab"
T = TypeVar("T")


@dataclass(frozen=True)
class Lab:
    """What $PODLOOM_STATE/lab.json says: how to reach the lab's cloud."""

    cloud_url: str
    ca_file: str
    subscription: str
    tag: str

    @property
    def subscription_path(self) -> str:
        return f"/subscriptions/{self.subscription}"

    def group(self, name: str) -> ResourceId:
        return ResourceId(self.subscription, name)

    def resource(self, group: str, type_: str, name: str) -> ResourceId:
        return ResourceId(self.subscription, group, type_, (name,))


def read_lab() -> Lab:
    """The lab of PODLOOM_STATE; Unavailable, saying `podloom lab up`, when there is none."""
    path = Path(os.environ.get("PODLOOM_STATE") or DEFAULT_STATE) / "lab.json"
    try:
        found = json.loads(path.read_text())
        return Lab(found["cloudUrl"], found["caFile"], found["subscriptionId"], found.get("tag", "podloom"))
    except PermissionError as error:
        raise Unavailable("find the lab", f"{path} cannot be read ({error.strerror})", "run as root") from None
    except (OSError, ValueError, KeyError):
        raise Unavailable("find the lab", f"{path} does not tell one", "run `podloom lab up`") from None


def with_cloud(work: Callable[[CloudClient, Lab], Awaitable[T]]) -> T:
    """Run `work` with a client of the lab's cloud; Unavailable, saying `podloom lab up`, when it does not answer."""
    import asyncio

    from podloom.drivers.arm import CloudClient

    lab = read_lab()

    async def run() -> T:
        if not Path(lab.ca_file).exists():
            raise Unavailable("reach the lab's cloud", f"{lab.ca_file} is missing", "run `podloom lab up`")
        async with CloudClient(lab.cloud_url, lab.ca_file) as client:
            try:
                return await work(client, lab)
            except Unavailable as error:
                raise Unavailable(
                    "reach the lab's cloud", f"{lab.cloud_url} does not answer ({error.found})", "run `podloom lab up`"
                ) from error

    return asyncio.run(run())
