"""Which built-in resources there are, as discovery lists them.

The problem: clients learn from discovery what exists, by which names, with which verbs, so the list must be a
real server's (Kubernetes 1.36), in its order. The list is a table of text, one line for a resource, and the rest
follows from rules: the singular is the lower-cased kind, ordinary resources have the eight verbs, the storage
version hash is a digest of group, version and kind (apiserver, discovery.StorageVersionHash).

A line: plural, Kind, scope (N or C), short names, categories, subresources; `-` stands for none. Behind `!` are
exceptions: `verbs=`; `stored=group/version` for a resource kept under another group version's key; `hashed=version`
where the real server still stores, and so digests, an older version.
"""

from __future__ import annotations

import base64
import hashlib

from podloom.kube.api.contract import ResourceType, Subresource

_ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
_GET_UPDATE = ("get", "patch", "update")
_CONNECT = ("create", "get")
_PROXY = ("create", "delete", "get", "patch", "update")

_SUBRESOURCES: dict[str, tuple[str, tuple[str, ...], str, str]] = {
    # name: kind (empty: the parent's), verbs, group, version (empty: the parent's)
    "approval": ("", _GET_UPDATE, "", ""),
    "attach": ("PodAttachOptions", _CONNECT, "", ""),
    "binding": ("Binding", ("create",), "", ""),
    "ephemeralcontainers": ("", _GET_UPDATE, "", ""),
    "eviction": ("Eviction", ("create",), "policy", "v1"),
    "exec": ("PodExecOptions", _CONNECT, "", ""),
    "finalize": ("", ("update",), "", ""),
    "log": ("", ("get",), "", ""),
    "portforward": ("PodPortForwardOptions", _CONNECT, "", ""),
    "proxy": ("{}ProxyOptions", _PROXY, "", ""),
    "resize": ("", _GET_UPDATE, "", ""),
    "scale": ("Scale", _GET_UPDATE, "autoscaling", "v1"),
    "status": ("", _GET_UPDATE, "", ""),
    "token": ("TokenRequest", ("create",), "authentication.k8s.io", "v1"),
}

_TABLE = """
v1
bindings Binding N - - - !verbs=create
componentstatuses ComponentStatus C cs - - !verbs=get,list
configmaps ConfigMap N cm - -
endpoints Endpoints N ep - -
events Event N ev - -
limitranges LimitRange N limits - -
namespaces Namespace C ns - finalize,status !verbs=create,delete,get,list,patch,update,watch
nodes Node C no - proxy,status
persistentvolumeclaims PersistentVolumeClaim N pvc - status
persistentvolumes PersistentVolume C pv - status
pods Pod N po all attach,binding,ephemeralcontainers,eviction,exec,log,portforward,proxy,resize,status
podtemplates PodTemplate N - - -
replicationcontrollers ReplicationController N rc all scale,status
resourcequotas ResourceQuota N quota - status
secrets Secret N - - -
serviceaccounts ServiceAccount N sa - token
services Service N svc all proxy,status
apiregistration.k8s.io/v1
apiservices APIService C - api-extensions status
apps/v1
controllerrevisions ControllerRevision N - - -
daemonsets DaemonSet N ds all status
deployments Deployment N deploy all scale,status
replicasets ReplicaSet N rs all scale,status
statefulsets StatefulSet N sts all scale,status
events.k8s.io/v1
events Event N ev - - !stored=v1
authentication.k8s.io/v1
selfsubjectreviews SelfSubjectReview C - - - !verbs=create
tokenreviews TokenReview C - - - !verbs=create
authorization.k8s.io/v1
localsubjectaccessreviews LocalSubjectAccessReview N - - - !verbs=create
selfsubjectaccessreviews SelfSubjectAccessReview C - - - !verbs=create
selfsubjectrulesreviews SelfSubjectRulesReview C - - - !verbs=create
subjectaccessreviews SubjectAccessReview C - - - !verbs=create
autoscaling/v2
horizontalpodautoscalers HorizontalPodAutoscaler N hpa all status
autoscaling/v1
horizontalpodautoscalers HorizontalPodAutoscaler N hpa all status !stored=autoscaling/v2
batch/v1
cronjobs CronJob N cj all status
jobs Job N - all status
certificates.k8s.io/v1
certificatesigningrequests CertificateSigningRequest C csr - approval,status
networking.k8s.io/v1
ingressclasses IngressClass C - - -
ingresses Ingress N ing - status
ipaddresses IPAddress C ip - -
networkpolicies NetworkPolicy N netpol - -
servicecidrs ServiceCIDR C - - status
policy/v1
poddisruptionbudgets PodDisruptionBudget N pdb - status
rbac.authorization.k8s.io/v1
clusterrolebindings ClusterRoleBinding C - - -
clusterroles ClusterRole C - - -
rolebindings RoleBinding N - - -
roles Role N - - -
storage.k8s.io/v1
csidrivers CSIDriver C - - -
csinodes CSINode C - - -
csistoragecapacities CSIStorageCapacity N - - -
storageclasses StorageClass C sc - -
volumeattachments VolumeAttachment C - - status
volumeattributesclasses VolumeAttributesClass C vac - -
admissionregistration.k8s.io/v1
mutatingadmissionpolicies MutatingAdmissionPolicy C - api-extensions - !hashed=v1beta1
mutatingadmissionpolicybindings MutatingAdmissionPolicyBinding C - api-extensions - !hashed=v1beta1
mutatingwebhookconfigurations MutatingWebhookConfiguration C - api-extensions -
validatingadmissionpolicies ValidatingAdmissionPolicy C - api-extensions status
validatingadmissionpolicybindings ValidatingAdmissionPolicyBinding C - api-extensions -
validatingwebhookconfigurations ValidatingWebhookConfiguration C - api-extensions -
apiextensions.k8s.io/v1
customresourcedefinitions CustomResourceDefinition C crd,crds api-extensions status !hashed=v1beta1
scheduling.k8s.io/v1
priorityclasses PriorityClass C pc - -
coordination.k8s.io/v1
leases Lease N - - -
node.k8s.io/v1
runtimeclasses RuntimeClass C - - -
discovery.k8s.io/v1
endpointslices EndpointSlice N - - -
resource.k8s.io/v1
deviceclasses DeviceClass C - - -
resourceclaims ResourceClaim N - - status
resourceclaimtemplates ResourceClaimTemplate N - - -
resourceslices ResourceSlice C - - -
flowcontrol.apiserver.k8s.io/v1
flowschemas FlowSchema C - - status
prioritylevelconfigurations PriorityLevelConfiguration C - - status
"""


_DEPRECATED = {
    "componentstatuses": "v1 ComponentStatus is deprecated in v1.19+",
    "endpoints": "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
}


def storage_version_hash(group: str, version: str, kind: str) -> str:
    """The digest by which discovery tells clients that a resource's storage version changed."""
    digest = hashlib.sha256(f"{group}/{version}/{kind}".encode()).digest()
    return base64.b64encode(digest[:8]).decode()


def _split(word: str) -> tuple[str, ...]:
    return () if word == "-" else tuple(word.split(","))


def _subresource(name: str, parent_kind: str) -> Subresource:
    kind, verbs, group, version = _SUBRESOURCES[name]
    return Subresource(name, (kind or parent_kind).format(parent_kind), verbs, group or None, version or None)


def _row(group: str, version: str, line: str) -> ResourceType:
    words, _, extra = line.partition(" !")
    plural, kind, scope, short, categories, subresources = words.split()
    options = dict(pair.split("=", 1) for pair in extra.split())
    verbs = tuple(options["verbs"].split(",")) if "verbs" in options else _ALL_VERBS
    stored = options.get("stored", "")
    stored_group, _, stored_version = (stored or f"{group}/{version}").rpartition("/")
    hashed = "create" in verbs and "update" in verbs
    return ResourceType(
        group,
        version,
        plural,
        kind.lower(),
        kind,
        scope == "N",
        verbs,
        short_names=_split(short),
        categories=_split(categories),
        subresources=tuple(_subresource(name, kind) for name in _split(subresources)),
        storage_version_hash=(
            storage_version_hash(stored_group, options.get("hashed", stored_version), kind) if hashed else ""
        ),
        storage_version=stored,
        deprecated_warning=_DEPRECATED.get(plural, ""),
    )


def _parse(table: str) -> tuple[ResourceType, ...]:
    types: list[ResourceType] = []
    group = version = ""
    for line in table.strip().splitlines():
        if " " in line:
            types.append(_row(group, version, line))
        else:
            group, _, version = line.rpartition("/")
    return tuple(types)


TYPES: tuple[ResourceType, ...] = _parse(_TABLE)
"""Every built-in resource, in discovery's order: groups as /apis lists them, the preferred version first.

Events of events.k8s.io and autoscaling/v1 are stored as core v1 and autoscaling/v2 (`storage_version`); their
kinds translate (`Kind.to_storage`).
"""


def type_of(group: str, plural: str) -> ResourceType:
    """The preferred version of a built-in resource. KeyError when there is none."""
    for found in TYPES:
        if found.group == group and found.plural == plural:
            return found
    raise KeyError(f"{plural}.{group}")
