"""The credential actions of managed clusters.

The problem: whoever runs a cluster reports a kubeconfig as it has it, and users expect AKS's names in it, so that
several clusters live in one file: cluster {name}, user clusterUser_{group}_{name}, context {name} (admin:
clusterAdmin_..., {name}-admin). So the names are put in when the file is asked for.
"""

from __future__ import annotations

import base64
from typing import Any

import yaml

from podloom.cloud import refusals
from podloom.cloud.engine import Engine
from podloom.model.arm import MANAGED_CLUSTERS, ResourceId
from podloom.model.findings import Finding, Refusal
from podloom.render.arm import Json

_ACTIONS = {"listclusterusercredential": "user", "listclusteradmincredential": "admin"}


def credentials(engine: Engine, id_: ResourceId, action: str) -> Json:
    """{"kubeconfigs": [{name, value (base64)}]}; 409 while the cluster has none yet."""
    role = _ACTIONS.get(action.lower())
    if role is None or id_.type != MANAGED_CLUSTERS:
        raise refusals.unknown_type(f"{id_.type}/{action}")
    cluster = engine.get(id_)
    row = ResourceId.parse(cluster["id"])
    text = engine.store.secret(row.key, role) or engine.store.secret(row.key, "admin")
    if text is None:
        state = cluster["properties"]["provisioningState"]
        message = f"The cluster '{row.name}' has no credentials yet; it is {state}."
        fix = f"wait until `podloom aks show -n {row.name} -g {row.group}` says Succeeded"
        raise Refusal([Finding("OperationNotAllowed", message, str(row), fix=fix, status=409)])
    renamed = yaml.safe_dump(with_names(yaml.safe_load(text), row, role), sort_keys=False)
    return {"kubeconfigs": [{"name": f"cluster{role.title()}", "value": base64.b64encode(renamed.encode()).decode()}]}


def with_names(config: Any, cluster: ResourceId, role: str) -> Json:
    """A kubeconfig of one cluster with AKS's names for its cluster, user and context."""
    context = cluster.name if role == "user" else f"{cluster.name}-admin"
    user = f"cluster{role.title()}_{cluster.group}_{cluster.name}"
    return {
        **config,
        "clusters": [{**config["clusters"][0], "name": cluster.name}],
        "users": [{**config["users"][0], "name": user}],
        "contexts": [{"name": context, "context": {"cluster": cluster.name, "user": user}}],
        "current-context": context,
    }
