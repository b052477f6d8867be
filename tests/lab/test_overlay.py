"""An overlay cluster from one command, reached the way its user reaches it."""

from __future__ import annotations

import ipaddress
import json
from typing import Any

import pytest

from labkit import CLUSTER, GROUP, Lab, wait_for

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]
NAMES = ("--name", CLUSTER, "--resource-group", GROUP)


def test_every_node_has_a_24_of_the_pod_cidr(cluster: Lab) -> None:
    """OVL-02, OVL-03: carved by the operator, told in the NodeNetworkConfig."""
    configs = cluster.get("nodenetworkconfigs", "-n", "kube-system")["items"]
    prefixes = {c["metadata"]["name"]: c["status"]["networkContainers"][0]["primaryIP"] for c in configs}
    nodes = [n["metadata"]["name"] for n in cluster.get("nodes")["items"]]
    assert sorted(prefixes) == sorted(nodes) and len(set(prefixes.values())) == 2
    for prefix in prefixes.values():
        network = ipaddress.ip_network(prefix)
        assert network.prefixlen == 24 and network.subnet_of(ipaddress.ip_network("192.168.0.0/16"))


def test_pods_run_and_everything_reaches_what_it_should(cluster: Lab) -> None:
    """The whole matrix: PLAN-13, OVL-05, OVL-06, DNS, ClusterIP, full packets."""
    outcome = cluster.podloom("connectivity", *NAMES)
    assert outcome["differences"] == []
    columns = {column for row in outcome["matrix"] for column, word in row.items() if word != "-"}
    assert {"pod, same node", "pod, other node", "VNet", "internet", "service", "DNS", "full packet"} <= columns


def test_kubectl_run_exec_logs_and_delete(cluster: Lab) -> None:
    cluster.kubectl("run", "shell", "--image=busybox", "--image-pull-policy=IfNotPresent", "--", "sleep", "1000")
    cluster.kubectl("wait", "pod/shell", "--for=condition=Ready", "--timeout=60s")
    assert cluster.kubectl("exec", "shell", "--", "cat", "/etc/hostname").strip() == "shell"
    assert cluster.kubectl("exec", "-i", "shell", "--", "wc", "-c", stdin="12345").strip() == "5"
    failed = cluster.run("kubectl", "exec", "shell", "--", "sh", "-c", "exit 7", check=False)
    assert failed.returncode == 7
    cluster.kubectl("delete", "pod", "shell", "--grace-period=1")
    assert "NotFound" in cluster.run("kubectl", "get", "pod", "shell", check=False).stderr


def test_a_deployment_is_served_by_name(cluster: Lab) -> None:
    """Deployment, Service, DNS and rollout, through kubectl alone."""
    cluster.kubectl("create", "deployment", "web", "--image=nginx", "--replicas=3")
    cluster.kubectl("expose", "deployment", "web", "--port=80")
    cluster.kubectl("rollout", "status", "deployment/web", "--timeout=90s")
    page = wait_for(lambda: _page(cluster), "a page from the service")
    assert "Welcome to nginx" in page
    cluster.kubectl("rollout", "restart", "deployment/web")
    cluster.kubectl("rollout", "status", "deployment/web", "--timeout=90s")
    cluster.kubectl("delete", "deployment,service", "web")


def _page(lab: Lab) -> str:
    pods = lab.kubectl("get", "pods", "-l", "app=web", "-o", "name").split()
    output: str = lab.run("kubectl", "exec", pods[0], "--", "wget", "-qO-", "http://web", check=False).stdout
    return output


def test_scaling_adds_a_node_with_its_own_24_and_removes_it(cluster: Lab) -> None:
    cluster.podloom("aks", "scale", *NAMES, "--node-count", "3")
    assert len(cluster.get("nodes")["items"]) == 3
    third = _prefixes(cluster)
    assert len(set(third.values())) == 3
    cluster.podloom("aks", "scale", *NAMES, "--node-count", "2")
    assert len(cluster.get("nodes")["items"]) == 2
    assert wait_for(lambda: len(_prefixes(cluster)) == 2, "the third node's range to be released")


def _prefixes(lab: Lab) -> dict[str, Any]:
    items = lab.get("nodenetworkconfigs", "-n", "kube-system")["items"]
    containers = {i["metadata"]["name"]: i.get("status", {}).get("networkContainers") or [{}] for i in items}
    return {name: found[0].get("primaryIP") for name, found in containers.items()}


def test_a_second_cluster_with_the_same_pod_cidr_never_mixes(cluster: Lab) -> None:
    """OVL-14, in one VNet: each reaches its own pods, neither the other's."""
    subnet = cluster.get("nodes")["items"] and cluster.podloom("aks", "show", *NAMES)
    pools = subnet["agentPoolProfiles"]
    vnet_subnet = pools[0].get("vnetSubnetId") or _managed_subnet(cluster, subnet["nodeResourceGroup"])
    names = ["--name", "twin", "--resource-group", GROUP]
    flags = ["--network-plugin", "azure", "--network-plugin-mode", "overlay", "--pod-cidr", "192.168.0.0/16"]
    cluster.podloom("aks", "create", *names, *flags, "--node-count", "1", "--vnet-subnet-id", vnet_subnet)
    try:
        outcome = cluster.podloom("connectivity", *names)
        assert outcome["differences"] == []
    finally:
        cluster.podloom("aks", "delete", *names, "--yes")
    assert [c["name"] for c in cluster.podloom("aks", "list")] == [CLUSTER]


def _managed_subnet(lab: Lab, group: str) -> str:
    vnet = lab.podloom("network", "vnet", "list", "--resource-group", group)[0]
    found: str = vnet["subnets"][0]["id"]
    return found


def test_a_refused_design_names_every_mistake_and_makes_nothing(cluster: Lab) -> None:
    before = json.dumps(cluster.podloom("group", "list"))
    refused = cluster.run(
        "podloom", "aks", "create", "--name", "bad", "--resource-group", GROUP, "--network-plugin", "azure",
        "--network-plugin-mode", "overlay", "--pod-cidr", "10.0.0.0/30", "--service-cidr", "10.0.0.0/8",
        "--dns-service-ip", "10.0.0.1", check=False,
    )  # fmt: skip
    assert refused.returncode == 1
    assert all(word in refused.stderr for word in ("InsufficientSubnetSize", "serviceCIDR", "dnsServiceIP"))
    assert json.dumps(cluster.podloom("group", "list")) == before
