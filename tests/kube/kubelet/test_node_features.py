"""What a container is given on a real node: identity, limits, files of /etc, deadlines; and who may ask the node."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from kube.kubelet.nodekit import NODE_IP, NodeKit

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeKit]:
    kit = NodeKit(tmp_path_factory.mktemp("features"), f"tf{os.getpid() % 100000}")
    kit.extra = ["--max-pods", "8"]
    try:
        kit.up()
        kit.start_kubelet()
        yield kit
    finally:
        kit.close()


def run(kit: NodeKit, name: str, script: str, container: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    """Run a script in a pod to its end; (phase and log) of it, and the pod is deleted."""
    main = {"name": "c", "image": "busybox:1", "command": ["sh", "-c", script], **(container or {})}
    body = {"nodeName": kit.name, "restartPolicy": "Never", "automountServiceAccountToken": False, **spec}
    meta = {"name": name, "labels": {"app": name}}
    kit.apply({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {"containers": [main], **body}})
    end = ("Succeeded", "Failed")
    kit.wait(f"{name} ended", lambda: kit.get("pod", name)["status"].get("phase") in end)
    obj: dict[str, Any] = kit.get("pod", name)
    obj["log"] = kit.kubectl("logs", name, check=False).stdout
    kit.kubectl("delete", "pod", name)
    return obj


def test_users_and_capabilities(node: NodeKit) -> None:
    status = "grep -e CapEff -e NoNewPrivs /proc/self/status"
    script = f"id -u; id -g; {status}; touch /x 2>/dev/null && echo writable"
    limited = {
        "runAsUser": 1000,
        "runAsGroup": 1000,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
    }
    lines = run(node, "limited", script, {"securityContext": limited})["log"].split()
    assert lines == ["1000", "1000", "CapEff:", "0" * 16, "NoNewPrivs:", "1"]
    root = run(node, "privileged", script, {"securityContext": {"privileged": True}})["log"].split()
    assert root[0] == "0" and int(root[3], 16) & (1 << 12) and "writable" in root
    main = {"name": "c", "image": "busybox:1", "securityContext": {"runAsNonRoot": True}}
    spec = {"nodeName": node.name, "containers": [main], "automountServiceAccountToken": False}
    node.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "nonroot"}, "spec": spec})

    def reason() -> bool:
        return "image will run as root" in json.dumps(node.get("pod", "nonroot")["status"])

    node.wait("refused", reason)
    node.kubectl("delete", "pod", "nonroot")


def test_limits_reach_the_cgroup(node: NodeKit) -> None:
    script = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max"
    limits = {"resources": {"limits": {"memory": "32Mi", "cpu": "500m"}}}
    text = run(node, "limits", script, limits)["log"].strip()
    if not text:
        pytest.skip("no memory controller in this machine's cgroups")
    assert text == str(32 << 20)


def test_files_of_etc_and_names(node: NodeKit) -> None:
    script = "cat /etc/hosts /etc/resolv.conf; hostname; env | grep KUBERNETES_SERVICE_HOST"
    aliases = [{"ip": "1.2.3.4", "hostnames": ["alias.example"]}]
    log = run(node, "names", script, hostAliases=aliases, hostname="given", subdomain="sub")["log"]
    assert "1.2.3.4\talias.example" in log and "given.sub.default.svc.cluster.local\tgiven" in log
    assert "nameserver 10.0.0.10" in log and "options ndots:5" in log
    assert "search default.svc.cluster.local svc.cluster.local cluster.local" in log
    assert "\ngiven\n" in log and "KUBERNETES_SERVICE_HOST=10.0.0.1" in log


def test_shared_and_host_processes(node: NodeKit) -> None:
    assert "/pause" in run(node, "shared", "ps", shareProcessNamespace=True)["log"]
    assert "containerd" in run(node, "hostpid", "ps", hostPID=True)["log"]
    assert NODE_IP in run(node, "hostnet", "ip addr", hostNetwork=True)["log"]


def test_deadline(node: NodeKit) -> None:
    obj = run(node, "late", "sleep 60", activeDeadlineSeconds=1, terminationGracePeriodSeconds=1)
    assert (obj["status"]["phase"], obj["status"]["reason"]) == ("Failed", "DeadlineExceeded")


def test_termination_message_from_the_log(node: NodeKit) -> None:
    obj = run(node, "message", "echo the reason; exit 1", {"terminationMessagePolicy": "FallbackToLogsOnError"})
    assert obj["status"]["containerStatuses"][0]["state"]["terminated"]["message"] == "the reason"


def test_labels_reach_running_containers(node: NodeKit) -> None:
    """A changed label is seen in the downward API's file of a running pod without waiting for a period."""
    volume = {"name": "v", "downwardAPI": {"items": [{"path": "l", "fieldRef": {"fieldPath": "metadata.labels"}}]}}
    script = "until grep new /v/l; do sleep 0.1; done"
    main = {"name": "c", "image": "busybox:1", "command": ["sh", "-c", script]}
    main["volumeMounts"] = [{"name": "v", "mountPath": "/v"}]  # type: ignore[assignment]
    spec = {"nodeName": node.name, "restartPolicy": "Never", "containers": [main], "volumes": [volume]}
    spec["automountServiceAccountToken"] = False
    node.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "labels"}, "spec": spec})
    node.wait("running", lambda: node.get("pod", "labels")["status"].get("phase") == "Running")
    node.kubectl("label", "pod", "labels", "x=new")
    node.wait("seen", lambda: node.get("pod", "labels")["status"].get("phase") == "Succeeded", 10)
    node.kubectl("delete", "pod", "labels")


def test_too_many_pods(node: NodeKit) -> None:
    """OVL-15: the node itself holds to its max-pods."""
    names = [f"full{n}" for n in range(10)]
    main = {"name": "c", "image": "busybox:1", "command": ["sleep", "1000"]}
    spec = {"nodeName": node.name, "containers": [main], "terminationGracePeriodSeconds": 1}
    spec["automountServiceAccountToken"] = False
    node.apply(*({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec} for name in names))

    def counted() -> bool:
        phases = [one["status"].get("phase") for one in node.get("pods")["items"]]
        return phases.count("Running") == 8 and phases.count("Failed") == 2

    node.wait("two refused", counted)
    reasons = {one["status"].get("reason") for one in node.get("pods")["items"]}
    assert "OutOfpods" in reasons
    node.kubectl("delete", "pod", *names)


def test_who_may_ask_the_node(node: NodeKit) -> None:
    """Health, statistics and metrics by the API server's certificate; nothing without one."""
    path = f"/api/v1/nodes/{node.name}/proxy"
    assert node.kubectl("get", "--raw", f"{path}/healthz").stdout == "ok"
    summary = json.loads(node.kubectl("get", "--raw", f"{path}/stats/summary").stdout)
    assert summary["node"]["nodeName"] == node.name
    assert "kubelet_running_pods" in node.kubectl("get", "--raw", f"{path}/metrics").stdout
    assert node.kubectl("get", "--raw", f"{path}/nothing", check=False).returncode != 0
    enter = ["nsenter", f"--net=/run/netns/{node.host.netns}", "curl", "-sk", "--max-time", "5"]
    refused = subprocess.run([*enter, f"https://{NODE_IP}:10250/healthz"], check=False, capture_output=True)
    assert refused.returncode != 0 and refused.stdout == b""
