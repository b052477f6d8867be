"""Which Kind hooks serve a resource type.

The problem: the server meets a resource type and wants its hooks. A type without special rules gets the plain
hooks, so a new built-in resource works as soon as it is in the table.
"""

from __future__ import annotations

from collections.abc import Callable

from podloom.kube.api.contract import Kind, ResourceType
from podloom.kube.api.kinds import (
    autoscaling,
    batch,
    config,
    endpoints,
    events,
    ingresses,
    leases,
    namespaces,
    networkpolicies,
    nodes,
    others,
    pods,
    quotas,
    rbac,
    reviews,
    services,
    tokens,
    workloads,
)
from podloom.kube.api.kinds.base import BuiltIn

_STATED_AND_COUNTED = ("servicecidrs", "validatingadmissionpolicies", "resourceclaims", "customresourcedefinitions")
_COUNTED = (
    "csidrivers",
    "deviceclasses",
    "mutatingadmissionpolicies",
    "mutatingadmissionpolicybindings",
    "resourceslices",
    "validatingadmissionpolicybindings",
)

_KINDS: dict[str, Callable[[], Kind]] = {
    "apiservices.apiregistration.k8s.io": others.APIServiceKind,
    "certificatesigningrequests.certificates.k8s.io": others.CertificateSigningRequestKind,
    "clusterrolebindings.rbac.authorization.k8s.io": rbac.ClusterRoleBindingKind,
    "clusterroles.rbac.authorization.k8s.io": rbac.ClusterRoleKind,
    "componentstatuses": others.ComponentStatusKind,
    "configmaps": config.ConfigMapKind,
    "controllerrevisions.apps": workloads.ControllerRevisionKind,
    "cronjobs.batch": batch.CronJobKind,
    "daemonsets.apps": workloads.DaemonSetKind,
    "deployments.apps": workloads.DeploymentKind,
    "endpoints": endpoints.EndpointsKind,
    "endpointslices.discovery.k8s.io": endpoints.EndpointSliceKind,
    "events": events.EventKind,
    "events.events.k8s.io": events.NewEventKind,
    "flowschemas.flowcontrol.apiserver.k8s.io": others.FlowSchemaKind,
    "ingressclasses.networking.k8s.io": ingresses.IngressClassKind,
    "ingresses.networking.k8s.io": ingresses.IngressKind,
    "ipaddresses.networking.k8s.io": ingresses.IPAddressKind,
    "jobs.batch": batch.JobKind,
    "leases.coordination.k8s.io": leases.LeaseKind,
    "limitranges": quotas.LimitRangeKind,
    "localsubjectaccessreviews.authorization.k8s.io": reviews.LocalSubjectAccessReviewKind,
    "mutatingwebhookconfigurations.admissionregistration.k8s.io": others.WebhookKind,
    "namespaces": namespaces.NamespaceKind,
    "networkpolicies.networking.k8s.io": networkpolicies.NetworkPolicyKind,
    "nodes": nodes.NodeKind,
    "persistentvolumeclaims": others.PersistentVolumeClaimKind,
    "persistentvolumes": others.PersistentVolumeKind,
    "poddisruptionbudgets.policy": others.PodDisruptionBudgetKind,
    "pods": pods.PodKind,
    "podtemplates": pods.PodTemplateKind,
    "priorityclasses.scheduling.k8s.io": others.PriorityClassKind,
    "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io": others.PriorityLevelKind,
    "replicasets.apps": workloads.ReplicaSetKind,
    "replicationcontrollers": workloads.ReplicationControllerKind,
    "resourcequotas": quotas.ResourceQuotaKind,
    "rolebindings.rbac.authorization.k8s.io": rbac.RoleBindingKind,
    "roles.rbac.authorization.k8s.io": rbac.RoleKind,
    "runtimeclasses.node.k8s.io": others.RuntimeClassKind,
    "secrets": config.SecretKind,
    "selfsubjectaccessreviews.authorization.k8s.io": reviews.SelfSubjectAccessReviewKind,
    "selfsubjectreviews.authentication.k8s.io": reviews.SelfSubjectReviewKind,
    "selfsubjectrulesreviews.authorization.k8s.io": reviews.SelfSubjectRulesReviewKind,
    "serviceaccounts": tokens.ServiceAccountKind,
    "servicecidrs.networking.k8s.io": ingresses.ServiceCIDRKind,
    "services": services.ServiceKind,
    "statefulsets.apps": workloads.StatefulSetKind,
    "storageclasses.storage.k8s.io": others.StorageClassKind,
    "subjectaccessreviews.authorization.k8s.io": reviews.SubjectAccessReviewKind,
    "tokenreviews.authentication.k8s.io": reviews.TokenReviewKind,
    "validatingwebhookconfigurations.admissionregistration.k8s.io": others.WebhookKind,
}


def _maker(type_: ResourceType) -> Callable[[], Kind]:
    if (type_.group, type_.version) == ("autoscaling", "v2"):
        return autoscaling.AutoscalerKind
    if (type_.group, type_.version) == ("autoscaling", "v1"):
        return autoscaling.AutoscalerV1Kind
    if type_.group_resource in _KINDS:
        return _KINDS[type_.group_resource]
    if type_.plural in _STATED_AND_COUNTED:
        return others.StatedAndCounted
    if type_.plural in _COUNTED:
        return others.Counted
    has_status = any(sub.name == "status" for sub in type_.subresources)
    return others.Stated if has_status else BuiltIn


def kind_for(type_: ResourceType) -> Kind:
    """The hooks of a built-in resource type."""
    kind = _maker(type_)()
    kind.type = type_
    return kind
