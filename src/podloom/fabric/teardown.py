"""Removing everything the fabric of one lab made, and nothing else."""

from __future__ import annotations

from podloom.drivers.kernel.netns import clear_leftovers
from podloom.drivers.kernel.real import RealKernel
from podloom.plan.fabric.names import netns_prefix
from podloom.plan.fabric.plan import fabric_tag
from podloom.reconcile import kernel_targets, reconcile


def teardown(tag: str) -> None:
    """Delete the lab's namespaces and links, and with them their routes, rules and tables; idempotent.

    Processes in a VM's namespace keep it alive without a name and without network: end them first. Raises the
    first failure."""
    reconcile([], kernel_targets(RealKernel(fabric_tag(tag)))).check()
    clear_leftovers(netns_prefix(tag))
