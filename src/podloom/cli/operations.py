"""Starting long operations and following them to their end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import click

from podloom.cli.options import Quiet, warn
from podloom.cli.progress import Progress, progress
from podloom.drivers.arm import CloudClient, CloudError
from podloom.model.arm import ResourceId
from podloom.model.errors import Unavailable

Json = dict[str, Any]
_POLL_S = 0.15
_PATIENCE_S = 15.0
_SILENCE_S = 30.0


def quiet() -> bool:
    found = click.get_current_context().meta.get("podloom.quiet", Quiet())
    return bool(found.errors_only)


async def put(
    cloud: CloudClient, id_: ResourceId, body: Json, title: str, *, no_wait: bool, only_new: bool = False
) -> Json | None:
    """PUT and follow to the end; returns the resource as it then is, None with `no_wait`."""
    _, url = await cloud.begin("PUT", str(id_), body, only_new=only_new)
    if no_wait:
        return None
    with progress(title, quiet=quiet()) as display:
        await _follow(cloud, url, id_, display)
    found = await cloud.get(str(id_))
    _show_warnings(found)
    return found


async def delete(cloud: CloudClient, id_: ResourceId, title: str, *, no_wait: bool) -> None:
    """DELETE and follow to the end."""
    _, url = await cloud.begin("DELETE", str(id_))
    if no_wait:
        return
    with progress(title, quiet=quiet()) as display:
        await _follow(cloud, url, id_, display)


async def _follow(cloud: CloudClient, url: str, id_: ResourceId, display: Progress) -> None:
    """Show the steps of `id_` until its operation ends; CloudError with the operation's reason when it failed.

    A cloud that is being restarted in between is waited for: the operation goes on. Work that shows no step for
    long gets one hint where to look.
    """
    clock = asyncio.get_running_loop().time
    answered = stirred = clock()
    seen: Sequence[Json] = []
    while url:
        try:
            state, _ = await cloud.operation(url)
            steps = await _steps(cloud, id_)
        except Unavailable:
            if clock() - answered > _PATIENCE_S:
                raise
            await asyncio.sleep(_POLL_S)
            continue
        answered = clock()
        display.show(steps)
        if steps != seen:
            seen, stirred = steps, answered
        elif answered - stirred > _SILENCE_S:
            warn("nothing has happened for a while; `podloom lab status` tells what runs. Waiting on.")
            stirred = float("inf")
        if state["status"] == "Succeeded":
            return
        if state["status"] in ("Failed", "Canceled"):
            error = state.get("error") or {"code": state["status"], "message": "the operation gave no reason"}
            raise CloudError(200, error)
        await asyncio.sleep(_POLL_S)


async def _steps(cloud: CloudClient, id_: ResourceId) -> Sequence[Json]:
    target = id_.parent if len(id_.names) > 1 else id_
    found = await cloud.find(str(target))
    if found is None:
        return []
    steps = found["properties"].get("podloom", {}).get("steps", [])
    return steps if isinstance(steps, list) else []


def _show_warnings(resource: Json) -> None:
    for warning in resource.get("properties", {}).get("podloom", {}).get("warnings", []):
        warn(f"({warning['code']}) {warning['message']}")
