"""`podloom connectivity`: every path of a cluster, tried with real connections."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from podloom.cli.operations import quiet
from podloom.cli.options import EXIT_CODE, prints
from podloom.cli.parameters import group_option, name_option
from podloom.cli.progress import StepsOf, progress
from podloom.cli.session import Lab, with_cloud
from podloom.model.arm import MANAGED_CLUSTERS

Json = dict[str, Any]


@click.command()
@name_option("--name", "-n", help="Name of the managed cluster.")
@group_option()
@click.option("--keep", is_flag=True, help="Leave what the probes need for the next run.")
@prints(lambda result: result["matrix"], default="table")
def connectivity(name: str, resource_group: str, keep: bool) -> Json:
    """Try every path of a cluster with real connections.

    Prints a matrix: who connects (rows) to what (columns). A cell is good when each connection did what it must
    and the other side saw the address it must see. Exit code 1, and what differed, when one did not.
    """
    from podloom.plan.connectivity import matrix, table

    outcomes = _probe(name, resource_group, keep)
    wrong = [outcome for outcome in outcomes if outcome.problem]
    for outcome in wrong:
        probe = outcome.probe
        click.echo(f"DIFFERS: {probe.source} -> {probe.to} ({probe.column}): {outcome.problem}", err=True)
    if wrong:
        click.get_current_context().meta[EXIT_CODE] = 1
    return {
        "matrix": table(matrix(outcomes)),
        "ok": not wrong,
        "probes": len(outcomes),
        "differences": [_difference(outcome) for outcome in wrong],
    }


def _probe(name: str, group: str, keep: bool) -> Sequence[Any]:
    """Run all probes against the cluster, from inside it and from the lab's hosts around it."""
    from podloom.drivers.kube import KubeClient
    from podloom.lab.outside import around
    from podloom.lab.state import paths, read_lab
    from podloom.observe.connectivity import check
    from podloom.plan.cluster import plan_cluster

    async def work(cloud: Any, lab: Lab) -> Sequence[Any]:
        id_ = str(lab.resource(group, MANAGED_CLUSTERS, name))
        cluster = await cloud.get(id_)
        answer = await cloud.post(f"{id_}/listClusterAdminCredential")
        where = paths()
        with tempfile.TemporaryDirectory(prefix="podloom-") as folder, progress("connectivity", quiet=quiet()) as shown:
            config = Path(folder) / "config"
            config.write_bytes(base64.b64decode(answer["kubeconfigs"][0]["value"]))
            async with (
                KubeClient.from_kubeconfig(config) as kube,
                around(read_lab(where), where, cloud, plan_cluster(cluster), keep=keep) as outside,
            ):
                return await check(kube, outside, StepsOf(shown), keep=keep)

    return with_cloud(work)


def _difference(outcome: Any) -> Json:
    probe = outcome.probe
    return {"from": probe.source, "to": probe.to, "column": probe.column, "problem": outcome.problem}
