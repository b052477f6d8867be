"""`podloom account`."""

from __future__ import annotations

from typing import Any

import click

from podloom.cli.options import prints
from podloom.cli.parameters import AzGroup
from podloom.cli.session import read_lab

Json = dict[str, Any]


@click.group(cls=AzGroup)
def account() -> None:
    """The lab's subscription."""


@account.command()
@prints()
def show() -> Json:
    """Get the details of the lab's subscription."""
    return _describe()


@account.command("list")
@prints()
def list_accounts() -> list[Json]:
    """Get the list of subscriptions: the lab has one."""
    return [_describe()]


def _describe() -> Json:
    lab = read_lab()
    return {
        "environmentName": "podloom",
        "homeTenantId": lab.subscription,
        "id": lab.subscription,
        "isDefault": True,
        "managedByTenants": [],
        "name": "podloom lab",
        "state": "Enabled",
        "tenantId": lab.subscription,
        "user": {"name": "lab", "type": "servicePrincipal"},
    }
