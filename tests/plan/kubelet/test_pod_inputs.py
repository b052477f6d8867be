"""Environment, volumes, resources and files of a pod."""

from __future__ import annotations

import base64
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podloom.model.errors import Rejected, Unsupported
from podloom.plan.kubelet.configs import check_non_root, plan_container, plan_sandbox
from podloom.plan.kubelet.env import ConfigError, EnvInputs, Sources, expand, needed_objects, plan_env, service_env
from podloom.plan.kubelet.fields import NodeFacts
from podloom.plan.kubelet.files import dns_config, hosts_file
from podloom.plan.kubelet.probe import first_state, named_port, step
from podloom.plan.kubelet.quantity import milli, parse_quantity, whole
from podloom.plan.kubelet.resources import linux_resources, qos_class, resource_field
from podloom.plan.kubelet.volumes import Empty, File, Files, HostPath, plan_mounts, plan_volume, token_keys

NODE = NodeFacts("node", ("10.224.0.4",), {"cpu": "2", "memory": "4Gi"}, 4 << 30, ("10.0.0.10",))


def pod(container: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    meta = {"name": "web-0", "namespace": "shop", "uid": "u1", "labels": {"b": "2", "a": 'x"y'}}
    return {"metadata": meta, "spec": {"containers": [{"name": "c", "image": "i", **(container or {})}], **spec}}


def inputs(**sources: Any) -> EnvInputs:
    return EnvInputs(NODE, Sources(**sources), (), ("192.168.0.9",))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("100m", "0.1"),
        ("1Ki", "1024"),
        ("1.5Gi", "1610612736"),
        ("2k", "2000"),
        ("1e3", "1000"),
        (".5", "0.5"),
        (3, "3"),
    ],
)
def test_quantities(text: object, value: str) -> None:
    assert parse_quantity(text) == Decimal(value)


def test_quantities_round_up_and_refuse() -> None:
    assert (whole("1500m"), milli("0.0001")) == (2, 1)
    for bad in ("", "1Qi", "x", "1 G", "--1"):
        with pytest.raises(Rejected):
            parse_quantity(bad)


@pytest.mark.parametrize(
    ("text", "out"),
    [
        ("$(A)", "1"),
        ("x$(A)y$(B)", "x1y$(B)"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$A $", "$A $"),
        ("$(A", "$(A"),
        ("$()", "$()"),
    ],
)
def test_expansion(text: str, out: str) -> None:
    """Kubernetes docs, "Define Dependent Environment Variables"."""
    assert expand(text, {"A": "1"}.get) == out


@given(st.text(max_size=30))
def test_expansion_without_variables_keeps_text(text: str) -> None:
    """Only $$ changes when no variable is known."""
    assert expand(text.replace("$", ""), lambda _: None) == text.replace("$", "")


def test_environment_order() -> None:
    """Services lose against envFrom, envFrom against env; expansion sees what came before, and services."""
    service = {
        "metadata": {"name": "my-db", "namespace": "shop"},
        "spec": {"clusterIP": "10.0.0.5", "ports": [{"port": 5432, "name": "pg"}]},
    }
    configmap = {"data": {"A": "cm", "MY_DB_SERVICE_HOST": "own", "bad key": "x"}}
    env = [
        {"name": "B", "value": "$(A)/$(MY_DB_SERVICE_PORT)/$(LATER)"},
        {"name": "A", "value": "env"},
        {"name": "LATER", "value": "$(A)"},
    ]
    subject = pod({"envFrom": [{"configMapRef": {"name": "cm"}}], "env": env})
    given_inputs = EnvInputs(NODE, Sources({"cm": configmap}), (service,), ())
    out = plan_env(subject, subject["spec"]["containers"][0], given_inputs)
    assert out["B"] == "cm/5432/$(LATER)" and out["A"] == "env" and out["LATER"] == "env"
    assert out["MY_DB_SERVICE_HOST"] == "own" and out["MY_DB_PORT_5432_TCP_ADDR"] == "10.0.0.5"
    assert out["MY_DB_SERVICE_PORT_PG"] == "5432" and "bad key" not in out


def test_service_variables_respect_links() -> None:
    services = [
        {"metadata": {"name": name, "namespace": ns}, "spec": {"clusterIP": ip, "ports": [{"port": 443}]}}
        for name, ns, ip in (("kubernetes", "default", "10.0.0.1"), ("x", "shop", "10.0.0.2"), ("h", "shop", "None"))
    ]
    assert set(service_env(services, "shop", links=False)) >= {"KUBERNETES_SERVICE_HOST", "KUBERNETES_PORT_443_TCP"}
    assert "X_SERVICE_HOST" not in service_env(services, "shop", links=False)
    assert "X_SERVICE_HOST" in service_env(services, "shop", links=True)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"configMapKeyRef": {"name": "no", "key": "k"}}, 'configmap "no" not found'),
        ({"secretKeyRef": {"name": "no", "key": "k"}}, 'secret "no" not found'),
        ({"configMapKeyRef": {"name": "cm", "key": "k"}}, "couldn't find key k in ConfigMap shop/cm"),
    ],
)
def test_missing_sources(source: dict[str, Any], message: str) -> None:
    subject = pod({"env": [{"name": "X", "valueFrom": source}]})
    given_inputs = inputs(configmaps={"cm": {"data": {}}, "no": None}, secrets={"no": None})
    with pytest.raises(ConfigError) as caught:
        plan_env(subject, subject["spec"]["containers"][0], given_inputs)
    assert caught.value.message == message
    for ref in source.values():
        ref["optional"] = True
    assert plan_env(subject, subject["spec"]["containers"][0], given_inputs) == {}


def test_needed_objects() -> None:
    env = [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "s1", "key": "k"}}}]
    volumes = [
        {"name": "a", "secret": {"secretName": "s2"}},
        {"name": "b", "projected": {"sources": [{"configMap": {"name": "c1"}}, {"secret": {"name": "s3"}}]}},
    ]
    subject = pod({"env": env, "envFrom": [{"configMapRef": {"name": "c2"}}]}, volumes=volumes)
    wanted = {("secret", "s1"), ("secret", "s2"), ("secret", "s3"), ("configmap", "c1"), ("configmap", "c2")}
    assert needed_objects(subject) == wanted


def test_file_volumes() -> None:
    secret = {"data": {"key": base64.b64encode(b"\x00hidden").decode()}}
    given_inputs = inputs(configmaps={"cm": {"data": {"a": "1", "b": "2"}}}, secrets={"s": secret})
    chosen = {"name": "v", "configMap": {"name": "cm", "items": [{"key": "a", "path": "x/y", "mode": 0o600}]}}
    assert plan_volume(chosen, pod(), given_inputs, {}) == Files({"x/y": File(b"1", 0o600)}, False)
    hidden = {"name": "v", "secret": {"secretName": "s", "defaultMode": 0o400}}
    assert plan_volume(hidden, pod(), given_inputs, {}) == Files({"key": File(b"\x00hidden", 0o400)}, True)
    missing = {"name": "v", "configMap": {"name": "cm", "items": [{"key": "no", "path": "x"}]}}
    with pytest.raises(ConfigError):
        plan_volume(missing, pod(), given_inputs, {})
    missing["configMap"]["optional"] = True  # type: ignore[index]
    assert plan_volume(missing, pod(), given_inputs, {}) == Files({}, False)


def test_projected_volume() -> None:
    items = [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]
    sources = [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": items}},
    ]
    subject = pod(volumes=[{"name": "api", "projected": {"sources": sources, "defaultMode": 0o644}}])
    assert token_keys(subject) == {("", 3607)}
    given_inputs = inputs(configmaps={"kube-root-ca.crt": {"data": {"ca.crt": "PEM"}}})
    plan = plan_volume(subject["spec"]["volumes"][0], subject, given_inputs, {("", 3607): "jwt"})
    assert isinstance(plan, Files) and plan.secret
    assert {name: one.data for name, one in plan.files.items()} == {
        "token": b"jwt",
        "ca.crt": b"PEM",
        "labels": b'a="x\\"y"\nb="2"',
    }


def test_other_volumes() -> None:
    assert plan_volume(
        {"name": "e", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}, pod(), inputs(), {}
    ) == Empty(True, 1 << 20)
    assert plan_volume({"name": "e"}, pod(), inputs(), {}) == Empty(False)
    assert plan_volume({"name": "h", "hostPath": {"path": "/x", "type": "File"}}, pod(), inputs(), {}) == HostPath(
        "/x", "File"
    )
    with pytest.raises(Unsupported):
        plan_volume({"name": "p", "persistentVolumeClaim": {"claimName": "c"}}, pod(), inputs(), {})


def test_mounts_expand_sub_paths() -> None:
    mounts = [
        {
            "name": "v",
            "mountPath": "data",
            "subPathExpr": "$(POD)/x",
            "readOnly": True,
            "mountPropagation": "Bidirectional",
        }
    ]
    (mount,) = plan_mounts({"name": "c", "volumeMounts": mounts}, {"POD": "web-0"})
    assert (mount.sub_path, mount.container_path, mount.read_only) == ("web-0/x", "/data", True)
    assert mount.propagation == "PROPAGATION_BIDIRECTIONAL"


@pytest.mark.parametrize(
    ("resources", "quality", "score"),
    [
        ({}, "BestEffort", 1000),
        ({"requests": {"memory": "2Gi"}}, "Burstable", 500),
        ({"limits": {"cpu": "1", "memory": "1Gi"}}, "Guaranteed", -997),
        ({"limits": {"cpu": "1"}}, "Burstable", 999),
    ],
)
def test_quality_of_service(resources: dict[str, Any], quality: str, score: int) -> None:
    subject = pod({"resources": resources})
    assert qos_class(subject) == quality
    assert linux_resources(subject, subject["spec"]["containers"][0], NODE.memory_bytes)["oom_score_adj"] == score


def test_linux_resources() -> None:
    subject = pod({"resources": {"limits": {"cpu": "250m", "memory": "64Mi"}, "requests": {"cpu": "100m"}}})
    out = linux_resources(subject, subject["spec"]["containers"][0], NODE.memory_bytes)
    assert (out["cpu_shares"], out["cpu_quota"], out["cpu_period"]) == (102, 25000, 100000)
    assert out["memory_limit_in_bytes"] == 64 << 20
    assert "cpu_quota" not in linux_resources(pod(), pod()["spec"]["containers"][0], NODE.memory_bytes)


def test_resource_fields() -> None:
    container = {"resources": {"limits": {"cpu": "1500m"}, "requests": {"memory": "100Mi"}}}
    assert resource_field(container, "limits.cpu", None, NODE.allocatable) == "2"
    assert resource_field(container, "limits.cpu", "1m", NODE.allocatable) == "1500"
    assert resource_field(container, "requests.memory", "1Mi", NODE.allocatable) == "100"
    assert resource_field(container, "limits.memory", "1Gi", NODE.allocatable) == "4"


def test_resolver_settings() -> None:
    host = "nameserver 168.63.129.16\nsearch internal.cloudapp.net\noptions edns0\n"
    cluster = dns_config(pod(), NODE, host)
    assert cluster["servers"] == ["10.0.0.10"] and cluster["options"] == ["ndots:5"]
    expected = ["shop.svc.cluster.local", "svc.cluster.local", "cluster.local", "internal.cloudapp.net"]
    assert cluster["searches"] == expected
    assert dns_config(pod(hostNetwork=True), NODE, host)["servers"] == ["168.63.129.16"]
    assert dns_config(pod(hostNetwork=True, dnsPolicy="ClusterFirstWithHostNet"), NODE, host)["servers"] == [
        "10.0.0.10"
    ]
    custom = {
        "nameservers": ["1.1.1.1"],
        "searches": ["x"],
        "options": [{"name": "ndots", "value": "2"}, {"name": "debug"}],
    }
    none = dns_config(pod(dnsPolicy="None", dnsConfig=custom), NODE, host)
    assert none == {"servers": ["1.1.1.1"], "searches": ["x"], "options": ["ndots:2", "debug"]}
    assert dns_config(pod(dnsConfig=custom), NODE, host)["options"] == ["ndots:2", "debug"]


def test_hosts_file() -> None:
    aliases = [{"ip": "1.2.3.4", "hostnames": ["a", "b"]}]
    text = hosts_file(pod(subdomain="sub", hostAliases=aliases), NODE, ("192.168.0.9",), "")
    assert text.startswith("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n")
    assert "192.168.0.9\tweb-0.sub.shop.svc.cluster.local\tweb-0\n" in text and text.endswith("1.2.3.4\ta\tb\n")
    assert "HOST" in hosts_file(pod(hostNetwork=True), NODE, (), "HOST")


def test_sandbox_configuration() -> None:
    port = {"containerPort": 80, "hostPort": 8080}
    config = plan_sandbox(
        pod({"ports": [port, {"containerPort": 81}]}), NODE, 3, {"servers": ["x"]}, cgroup_root="/node"
    )
    assert config["metadata"] == {"name": "web-0", "namespace": "shop", "uid": "u1", "attempt": 3}
    assert config["port_mappings"] == [{"protocol": "TCP", "container_port": 80, "host_port": 8080, "host_ip": ""}]
    assert config["linux"]["cgroup_parent"] == "/node/kubepods/besteffort/podu1"
    assert config["log_directory"] == "/var/log/pods/shop_web-0_u1" and config["hostname"] == "web-0"
    host = plan_sandbox(pod({"ports": [port]}, hostNetwork=True, hostPID=True), NODE, 0, {})
    assert host["hostname"] == "" and host["port_mappings"] == []
    options = host["linux"]["security_context"]["namespace_options"]
    assert options == {"network": "NODE", "pid": "NODE", "ipc": "POD"}


def test_security_contexts() -> None:
    def context(security: dict[str, Any], **spec: Any) -> dict[str, Any]:
        subject = pod({"securityContext": security}, **spec)
        config = plan_container(
            subject, subject["spec"]["containers"][0], image_ref="i", attempt=0, backoff_level=0, command=[], args=[],
            env={}, mounts=[], node=NODE,
        )  # fmt: skip
        return config["linux"]["security_context"]  # type: ignore[no-any-return]

    assert context({"privileged": True})["privileged"] and "masked_paths" not in context({"privileged": True})
    limited = context({"capabilities": {"add": ["CAP_NET_ADMIN"], "drop": ["ALL"]}, "readOnlyRootFilesystem": True})
    assert limited["capabilities"] == {"add_capabilities": ["NET_ADMIN"], "drop_capabilities": ["ALL"]}
    assert limited["readonly_rootfs"] and limited["masked_paths"]
    both = context({"runAsUser": 5}, securityContext={"runAsUser": 4, "runAsGroup": 6, "fsGroup": 7})
    assert (both["run_as_user"], both["run_as_group"], both["supplemental_groups"]) == ({"value": 5}, {"value": 6}, [7])
    assert context({"allowPrivilegeEscalation": False})["no_new_privs"]


def test_non_root() -> None:
    subject = pod({"securityContext": {"runAsNonRoot": True}})
    container = subject["spec"]["containers"][0]
    check_non_root(subject, container, 1000, "")
    for user, name in ((0, ""), (None, "www"), (None, "")):
        with pytest.raises(ConfigError):
            check_non_root(subject, container, user, name)


def test_probe_thresholds() -> None:
    spec = {"failureThreshold": 3, "successThreshold": 2}
    state, seen = first_state("readiness"), []
    for ok in (True, True, False, False, True, False, False, False):
        state = step(state, ok, spec)
        seen.append(state.good)
    assert seen == [False, True, True, True, True, True, True, False]


def test_named_ports() -> None:
    container = {"ports": [{"name": "web", "containerPort": 8080}]}
    assert [named_port(p, container) for p in ("web", "80", 9, "no")] == [8080, 80, 9, None]
