"""What a node's own credentials may write (admission NodeRestriction).

The problem: RBAC lets every node write nodes, pods, leases; a node must not touch another's. So a request by
`system:node:NAME` of group system:nodes is held to objects of that node.
"""

from __future__ import annotations

from podloom.kube.api.contract import Context, Object
from podloom.kube.api.kinds.base import forbidden

_PREFIX = "system:node:"
MIRROR = "kubernetes.io/config.mirror"


def node_of(ctx: Context) -> str:
    """The node whose credentials are used, or empty for anybody else."""
    if ctx.user.startswith(_PREFIX) and "system:nodes" in ctx.groups:
        return ctx.user[len(_PREFIX) :]
    return ""


def restrict_node(obj: Object, ctx: Context) -> None:
    """A node writes its own Node object only and does not delete it."""
    node = node_of(ctx)
    if not node:
        return
    name = ctx.name or obj["metadata"].get("name", "")
    if name != node:
        raise forbidden(ctx, "nodes", name, f'node "{node}" is not allowed to modify node "{name}"')
    if ctx.verb == "delete":
        raise forbidden(ctx, "nodes", name, f'node "{node}" cannot delete node "{name}"')


def restrict_pod(obj: Object, old: Object | None, ctx: Context) -> None:
    """A node writes status of, and deletes, the pods bound to it, and creates mirror pods of its own."""
    node = node_of(ctx)
    if not node:
        return
    pod = old or obj
    name = ctx.name or pod["metadata"].get("name", "")
    bound = (pod.get("spec") or {}).get("nodeName", "")
    if ctx.verb == "create" and not ctx.subresource:
        if MIRROR not in (obj["metadata"].get("annotations") or {}):
            why = f'pod does not have "{MIRROR}" annotation, node "{node}" can only create mirror pods'
            raise forbidden(ctx, "pods", name, why)
        if bound != node:
            raise forbidden(ctx, "pods", name, f'node "{node}" can only create pods with spec.nodeName set to itself')
    elif bound != node:
        deed = "delete pods" if ctx.verb == "delete" else "update pod status for pods"
        raise forbidden(ctx, "pods", name, f'node "{node}" can only {deed} with spec.nodeName set to itself')


def restrict_lease(obj: Object, ctx: Context) -> None:
    """A node writes the lease of its own name in kube-node-lease only."""
    node = node_of(ctx)
    if not node:
        return
    name = ctx.name or obj["metadata"].get("name", "")
    if ctx.namespace != "kube-node-lease":
        why = 'can only access leases in the "kube-node-lease" system namespace'
        raise forbidden(ctx, "leases.coordination.k8s.io", name, why)
    if name != node:
        why = f'can only access node lease with the same name as the requesting node "{node}"'
        raise forbidden(ctx, "leases.coordination.k8s.io", name, why)
