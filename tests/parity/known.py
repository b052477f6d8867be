"""Recorded answers that this server does not give, and why.

Each reason stands for the entries of one file. `python tests/parity/replay.py --differences` prints them as a table
for the documentation; test_parity.py fails when more than a few others differ.
"""

from __future__ import annotations

CHECKS = (
    "The list of health checks and index paths names this server's own parts (ping, database, bootstrap); the "
    "recorder's names the start hooks of kube-apiserver and OpenShift."
)
PREEMPTION = (
    "The message of an unschedulable pod ends after the nodes' reasons; the recorder's adds what its dynamic resource "
    "and preemption plugins tried. This scheduler has neither."
)
REVISION = (
    "The revision annotation of a Deployment is a write of its own here (its managedFields entry has no subresource); "
    "the recorder's controller sends it with the status."
)
DIFF = "The difference that a refused pod update prints is this server's own text, not a dump of Go structures."
TAINTS = (
    "A node that never reported is tainted NoSchedule and NoExecute here; when the recorder looked, its controller had "
    "added only one taint, or none."
)
WELL_KNOWN = "One rule of the recorder's fork (/.well-known) is not granted to everybody here."
NAMESPACE = (
    "Conditions of a terminating namespace say how far the controller has come; here some content still had finalizers."
)
EVENTS = "The scheduler here writes core/v1 events; the recorder's writes events.k8s.io/v1."
ENDPOINTS = "Subsets of an Endpoints object list ports in the Service's order, not by number."
CIDRS = (
    "ServiceCIDR objects are written once by the server; the recorder's have entries of two controllers that apply "
    "their status."
)
TRIGGER = "EndpointSlices do not carry the annotation endpoints.kubernetes.io/last-change-trigger-time."
SLICES = (
    "The EndpointSlices of a Service that became ExternalName are removed here; the recorder's controller leaves them."
)
LEAK = (
    "The recorder's server leaves the first address of a refused dual-stack Service allocated until a repair loop "
    "runs; here nothing of a refused request remains."
)

KNOWN: dict[str, dict[int, str]] = {
    "discovery.json": dict.fromkeys((29, 33, 35, 37, 39), CHECKS),
    "crud.json": {
        **dict.fromkeys((51, 52, 53, 55, 56, 62, 65), PREEMPTION),
        57: DIFF,
        **dict.fromkeys((75, 76, 79, 85, 87, 88, 89, 90), REVISION),
        **dict.fromkeys((100, 101, 105), TAINTS),
        135: WELL_KNOWN,
        146: NAMESPACE,
    },
    "list-watch.json": {65: REVISION, 70: EVENTS, 71: EVENTS, 76: ENDPOINTS, 78: CIDRS},
    "services.json": {1: CIDRS, 76: TRIGGER, 78: TRIGGER, 85: SLICES},
    "services-dualstack.json": {1: CIDRS, 24: TAINTS, **dict.fromkeys((35, 41, 42, 43), LEAK)},
}
