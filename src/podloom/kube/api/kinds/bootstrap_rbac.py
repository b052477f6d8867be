"""The roles and bindings every cluster has (kubernetes plugin/pkg/auth/authorizer/rbac/bootstrappolicy).

The problem: users, nodes and system parts rely on roles by name. They are a table of text: under the name of a role
one line for a rule, `verbs | groups | resources | names`, or `verbs | /path ...`; `core` is the group without a
name. `r`, `w` and `rw` stand for the reading and the writing verbs.

Two things differ from a real cluster, both because one authorizer stands for two there: the group system:nodes is
bound to system:node (real clusters have a Node authorizer), and the user system:kube-controller-manager is bound to
the roles of all controllers (real ones act as a service account each).
"""

from __future__ import annotations

from podloom.kube.api.contract import Object

_API = "rbac.authorization.k8s.io"
_VERBS = {
    "r": "get list watch",
    "w": "create delete deletecollection patch update",
    "rw": "create delete deletecollection get list patch update watch",
}
_EVENTS = "create patch update | core events.k8s.io | events"

_ROLES = """
cluster-admin
* | * | *
* | *
system:discovery
get | /api /api/* /apis /apis/* /healthz /livez /openapi /openapi/* /readyz /version /version/
system:monitoring
get | /healthz /healthz/* /livez /livez/* /metrics /metrics/slis /readyz /readyz/*
system:basic-user
create | authorization.k8s.io | selfsubjectaccessreviews selfsubjectrulesreviews
create | authentication.k8s.io | selfsubjectreviews
system:public-info-viewer
get | /healthz /livez /readyz /version /version/
system:service-account-issuer-discovery
get | /.well-known/openid-configuration /.well-known/openid-configuration/ /openid/v1/jwks /openid/v1/jwks/
system:auth-delegator
create | authentication.k8s.io | tokenreviews
create | authorization.k8s.io | subjectaccessreviews
system:kubelet-api-admin
get list watch | core | nodes
proxy | core | nodes
* | core | nodes/configz nodes/healthz nodes/log nodes/metrics nodes/pods nodes/proxy nodes/stats
system:node
create | authentication.k8s.io | tokenreviews
create | authorization.k8s.io | localsubjectaccessreviews subjectaccessreviews
r | core | services
create get list watch | core | nodes
patch update | core | nodes/status
patch update | core | nodes
r | core | pods
create delete | core | pods
patch update | core | pods/status
create | core | pods/eviction
r | core | configmaps secrets
get | core | persistentvolumeclaims persistentvolumes
get | core | endpoints
create get list watch | certificates.k8s.io | certificatesigningrequests
create delete get patch update | coordination.k8s.io | leases
get | storage.k8s.io | volumeattachments
create | core | serviceaccounts/token
get patch update | core | persistentvolumeclaims/status
r | storage.k8s.io | csidrivers
create delete get patch update | storage.k8s.io | csinodes
r | node.k8s.io | runtimeclasses
get list watch | core | serviceaccounts
create patch update | core events.k8s.io | events
system:node-proxier
r | core | endpoints services
get list watch | core | nodes
r | discovery.k8s.io | endpointslices
r | networking.k8s.io | servicecidrs
create patch update | core events.k8s.io | events
system:kube-scheduler
create patch update | core events.k8s.io | events
create | coordination.k8s.io | leases
get list update watch | coordination.k8s.io | leases | kube-scheduler
get list watch | core | nodes
delete get list watch | core | pods
create | core | bindings pods/binding
patch update | core | pods/status
r | core | replicationcontrollers services namespaces persistentvolumeclaims persistentvolumes
r | apps | replicasets statefulsets
r | policy | poddisruptionbudgets
r | storage.k8s.io | csidrivers csinodes csistoragecapacities storageclasses volumeattachments
create | authentication.k8s.io | tokenreviews
create | authorization.k8s.io | subjectaccessreviews
system:volume-scheduler
get list patch update watch | core | persistentvolumes
r | storage.k8s.io | storageclasses
get list patch update watch | core | persistentvolumeclaims
system:kube-controller-manager
create patch update | core events.k8s.io | events
create get list update watch | coordination.k8s.io | leases
create | core | secrets serviceaccounts
delete | core | secrets
get | core | configmaps namespaces secrets serviceaccounts
update | core | secrets serviceaccounts
create | authentication.k8s.io | tokenreviews
create | authorization.k8s.io | subjectaccessreviews
list watch | * | *
create | core | serviceaccounts/token
system:kube-dns
list watch | core | endpoints services
r | core | namespaces pods
r | discovery.k8s.io | endpointslices
system:kube-aggregator
r | core | endpoints services
system:node-bootstrapper
create get list watch | certificates.k8s.io | certificatesigningrequests
system:node-problem-detector
get | core | nodes
patch | core | nodes/status
create patch update | core events.k8s.io | events
system:persistent-volume-provisioner
create delete get list watch | core | persistentvolumes
get list update watch | core | persistentvolumeclaims
r | storage.k8s.io | storageclasses
watch | core | events
create patch update | core events.k8s.io | events
system:aggregate-to-admin
rw | rbac.authorization.k8s.io | rolebindings roles
create | authorization.k8s.io | localsubjectaccessreviews
system:aggregate-to-edit
r | core | pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy
impersonate | core | serviceaccounts
w | core | pods pods/attach pods/exec pods/portforward pods/proxy
create | core | pods/eviction
w | core | configmaps events persistentvolumeclaims replicationcontrollers replicationcontrollers/scale secrets \
serviceaccounts services services/proxy
create | core | serviceaccounts/token
w | apps | daemonsets deployments deployments/rollback deployments/scale replicasets replicasets/scale statefulsets \
statefulsets/scale
w | autoscaling | horizontalpodautoscalers
w | batch | cronjobs jobs
w | policy | poddisruptionbudgets
w | networking.k8s.io | ingresses networkpolicies
rw | coordination.k8s.io | leases
system:aggregate-to-view
r | core | configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods replicationcontrollers \
replicationcontrollers/scale serviceaccounts services services/status
r | core | bindings events limitranges namespaces/status pods/log pods/status replicationcontrollers/status \
resourcequotas resourcequotas/status
r | core | namespaces
r | discovery.k8s.io | endpointslices
r | apps | controllerrevisions daemonsets daemonsets/status deployments deployments/scale deployments/status \
replicasets replicasets/scale replicasets/status statefulsets statefulsets/scale statefulsets/status
r | autoscaling | horizontalpodautoscalers horizontalpodautoscalers/status
r | batch | cronjobs cronjobs/status jobs jobs/status
r | policy | poddisruptionbudgets poddisruptionbudgets/status
r | networking.k8s.io | ingresses ingresses/status networkpolicies
"""

_CONTROLLERS = """
attachdetach-controller
list watch | core | persistentvolumeclaims persistentvolumes
r | core | nodes
patch update | core | nodes/status
list watch | core | pods
create delete get list patch watch | storage.k8s.io | volumeattachments
r | storage.k8s.io | csidrivers csinodes
certificate-controller
delete get list watch | certificates.k8s.io | certificatesigningrequests
update | certificates.k8s.io | certificatesigningrequests/approval certificatesigningrequests/status
create | authorization.k8s.io | subjectaccessreviews
clusterrole-aggregation-controller
escalate get list patch update watch | rbac.authorization.k8s.io | clusterroles
cronjob-controller
get list patch update watch | batch | cronjobs
create delete get list patch update watch | batch | jobs
update | batch | cronjobs/finalizers cronjobs/status
delete list | core | pods
daemon-set-controller
r | apps | daemonsets
update | apps | daemonsets/finalizers daemonsets/status
r | core | nodes
create delete list patch watch | core | pods
create | core | pods/binding
create delete get list patch update watch | apps | controllerrevisions
deployment-controller
get list update watch | apps | deployments
update | apps | deployments/finalizers deployments/status
create delete get list patch update watch | apps | replicasets
get list update watch | core | pods
device-taint-eviction-controller
delete get list watch | core | pods
patch update | core | pods/status
r | resource.k8s.io | resourceclaims resourceslices
disruption-controller
r | apps | deployments replicasets statefulsets
r | core | replicationcontrollers
r | policy | poddisruptionbudgets
update | policy | poddisruptionbudgets/status
patch update | core | pods/status
get | * | */scale
endpoint-controller
r | core | pods services
create delete get list update | core | endpoints
create | core | endpoints/restricted
endpointslice-controller
r | core | nodes pods services
create delete get list update | discovery.k8s.io | endpointslices
update | core | services/finalizers
endpointslicemirroring-controller
r | core | endpoints services
create delete get list update | discovery.k8s.io | endpointslices
ephemeral-volume-controller
r | core | pods
update | core | pods/finalizers
create get list watch | core | persistentvolumeclaims
expand-controller
get list patch update watch | core | persistentvolumes
patch update | core | persistentvolumeclaims/status
r | core | persistentvolumeclaims
r | storage.k8s.io | storageclasses
generic-garbage-collector
delete get list patch update watch | * | *
horizontal-pod-autoscaler
r | autoscaling | horizontalpodautoscalers
update | autoscaling | horizontalpodautoscalers/status
get update | * | */scale
list | core | pods
job-controller
get list patch update watch | batch | jobs
update | batch | jobs/finalizers jobs/status
create delete list patch watch | core | pods
legacy-service-account-token-cleaner
get | core | configmaps
delete list patch watch | core | secrets
namespace-controller
delete get list watch | core | namespaces
update | core | namespaces/finalize namespaces/status
delete deletecollection get list | * | *
node-controller
delete get list patch update | core | nodes
patch update | core | nodes/status
delete get list | core | pods
patch update | core | pods/status
create get list update watch | coordination.k8s.io | leases
persistent-volume-binder
create delete get list patch update watch | core | persistentvolumes
update | core | persistentvolumes/status
get list patch update watch | core | persistentvolumeclaims
update | core | persistentvolumeclaims/status
r | storage.k8s.io | storageclasses
pod-garbage-collector
delete list watch | core | pods
get list | core | nodes
patch update | core | pods/status
pvc-protection-controller
get list update watch | core | persistentvolumeclaims
r | core | pods
pv-protection-controller
get list update watch | core | persistentvolumes
replicaset-controller
get list update watch | apps | replicasets
update | apps | replicasets/finalizers replicasets/status
create delete list patch watch | core | pods
replication-controller
get list update watch | core | replicationcontrollers
update | core | replicationcontrollers/finalizers replicationcontrollers/status
create delete list patch watch | core | pods
resource-claim-controller
r | core | pods
update | core | pods/finalizers
patch update | core | pods/status
create delete get list watch | resource.k8s.io | resourceclaims
r | resource.k8s.io | resourceclaimtemplates
patch update | resource.k8s.io | resourceclaims/status
resourcequota-controller
list watch | * | *
update | core | resourcequotas/status
root-ca-cert-publisher
create update | core | configmaps
route-controller
list watch | core | nodes
patch | core | nodes/status
selinux-warning-controller
r | core | persistentvolumeclaims persistentvolumes pods
r | storage.k8s.io | csidrivers
service-account-controller
create | core | serviceaccounts
service-cidrs-controller
get list patch update watch | networking.k8s.io | servicecidrs
patch update | networking.k8s.io | servicecidrs/finalizers servicecidrs/status
r | networking.k8s.io | ipaddresses
service-controller
get list watch | core | services
patch update | core | services/status
list watch | core | nodes
statefulset-controller
list watch | core | pods
r | apps | statefulsets
update | apps | statefulsets/finalizers statefulsets/status
create delete get patch update | core | pods
create delete get list patch update watch | apps | controllerrevisions
create get | core | persistentvolumeclaims
storage-version-migrator-controller
get list patch update watch | * | *
taint-eviction-controller
delete get list | core | pods
get list | core | nodes
patch update | core | pods/status
ttl-after-finished-controller
delete get list watch | batch | jobs
ttl-controller
list patch update watch | core | nodes
validatingadmissionpolicy-status-controller
r | admissionregistration.k8s.io | validatingadmissionpolicies
get patch update | admissionregistration.k8s.io | validatingadmissionpolicies/status
list watch | apiextensions.k8s.io | customresourcedefinitions
volumeattributesclass-protection-controller
r | core | persistentvolumeclaims persistentvolumes
get list update watch | storage.k8s.io | volumeattributesclasses
"""

_BINDINGS: dict[str, tuple[str, ...]] = {
    "cluster-admin": ("Group system:masters",),
    "system:basic-user": ("Group system:authenticated",),
    "system:discovery": ("Group system:authenticated",),
    "system:kube-controller-manager": ("User system:kube-controller-manager",),
    "system:kube-dns": ("ServiceAccount kube-system/kube-dns", "ServiceAccount kube-system/coredns"),
    "system:kube-scheduler": ("User system:kube-scheduler",),
    "system:monitoring": ("Group system:monitoring",),
    "system:node": ("Group system:nodes",),
    "system:node-proxier": ("User system:kube-proxy",),
    "system:public-info-viewer": ("Group system:authenticated", "Group system:unauthenticated"),
    "system:service-account-issuer-discovery": ("Group system:serviceaccounts",),
    "system:volume-scheduler": ("User system:kube-scheduler",),
}

_AGGREGATES = {"admin": ("admin",), "edit": ("edit", "admin"), "view": ("view", "edit", "admin")}


def _rule(line: str) -> Object:
    parts = [part.strip() for part in line.split("|")]
    verbs = _VERBS.get(parts[0], parts[0]).split()
    if len(parts) == 2:
        return {"verbs": verbs, "nonResourceURLs": parts[1].split()}
    groups = ["" if group == "core" else group for group in parts[1].split()]
    rule: Object = {"verbs": verbs, "apiGroups": groups, "resources": parts[2].split()}
    return rule | ({"resourceNames": parts[3].split()} if len(parts) > 3 else {})


def _parse(table: str) -> dict[str, list[Object]]:
    roles: dict[str, list[Object]] = {}
    name = ""
    for line in table.replace("\\\n", "").strip().splitlines():
        if "|" in line:
            roles[name].append(_rule(line))
        else:
            name = line
            roles[name] = []
    return roles


def _meta(name: str, **labels: str) -> Object:
    return {
        "name": name,
        "labels": {"kubernetes.io/bootstrapping": "rbac-defaults", **labels},
        "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
    }


def _role(name: str, rules: list[Object]) -> Object:
    aggregate = name.removeprefix("system:aggregate-to-")
    label = {f"{_API}/aggregate-to-{aggregate}": "true"} if aggregate != name else {}
    return {"kind": "ClusterRole", "apiVersion": f"{_API}/v1", "metadata": _meta(name, **label), "rules": rules}


def _subject(text: str) -> Object:
    kind, name = text.split(" ", 1)
    if kind == "ServiceAccount":
        namespace, _, account = name.partition("/")
        return {"kind": kind, "name": account, "namespace": namespace}
    return {"kind": kind, "apiGroup": _API, "name": name}


def _binding(name: str, subjects: tuple[str, ...]) -> Object:
    return {
        "kind": "ClusterRoleBinding",
        "apiVersion": f"{_API}/v1",
        "metadata": _meta(name),
        "roleRef": {"apiGroup": _API, "kind": "ClusterRole", "name": name},
        "subjects": [_subject(text) for text in subjects],
    }


def _aggregated(roles: dict[str, list[Object]]) -> list[Object]:
    """admin, edit and view with the rules of their parts."""
    found = []
    for name, wider in _AGGREGATES.items():
        parts = [part for part, into in _AGGREGATES.items() if name in into]
        rules: list[Object] = []
        for part in sorted(parts):
            rules += [rule for rule in roles[f"system:aggregate-to-{part}"] if rule not in rules]
        into = {f"{_API}/aggregate-to-{other}": "true" for other in wider if other != name}
        selector = {"matchLabels": {f"{_API}/aggregate-to-{name}": "true"}}
        found.append(
            {
                "kind": "ClusterRole",
                "apiVersion": f"{_API}/v1",
                "metadata": _meta(name, **into),
                "aggregationRule": {"clusterRoleSelectors": [selector]},
                "rules": rules,
            }
        )
    return found


def rbac_objects() -> list[Object]:
    """ClusterRoles and ClusterRoleBindings of a new cluster."""
    roles, controllers = _parse(_ROLES), _parse(_CONTROLLERS)
    objects = [*_aggregated(roles), *(_role(name, rules) for name, rules in roles.items())]
    objects += [_binding(name, subjects) for name, subjects in _BINDINGS.items()]
    for name, rules in controllers.items():
        full = f"system:controller:{name}"
        subjects = (f"ServiceAccount kube-system/{name}", "User system:kube-controller-manager")
        objects += [_role(full, [*rules, _rule(_EVENTS)]), _binding(full, subjects)]
    return objects
