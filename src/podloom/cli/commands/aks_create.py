"""`podloom aks create`: az's flags into a managedClusters wish. Defaults and rules are the service's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from podloom.cli.options import no_wait_option, prints, warn, yes_option
from podloom.cli.parameters import (
    AzCommand,
    group_option,
    location_option,
    name_option,
    parse_tags,
    several,
    split_commas,
    tags_option,
)
from podloom.cli.session import Lab, with_cloud
from podloom.model.arm import MANAGED_CLUSTERS

Json = dict[str, Any]

_NETWORK_FLAGS = (
    click.option("--network-plugin", type=click.Choice(["azure", "kubenet", "none"]), help="The network plugin."),
    click.option(
        "--network-plugin-mode", type=click.Choice(["overlay"]), help="overlay: pods in a range of their own."
    ),
    click.option("--network-policy", help="Network policy engine: azure, calico, cilium, none."),
    click.option("--network-dataplane", type=click.Choice(["azure", "cilium"]), help="The network dataplane."),
    click.option("--enable-ebpf-dataplane", is_flag=True, help="Deprecated: use --network-dataplane cilium."),
    click.option("--pod-cidr", help="A CIDR from which to assign pod addresses. Default: 10.244.0.0/16."),
    several("--pod-cidrs", help="One CIDR per IP family for pods."),
    click.option("--service-cidr", help="A CIDR for service addresses. Default: 10.0.0.0/16."),
    several("--service-cidrs", help="One CIDR per IP family for services."),
    click.option("--dns-service-ip", help="The address of the cluster DNS. Default: the service CIDR's tenth."),
    several("--ip-families", help="IP families: IPv4, or IPv4,IPv6."),
    click.option("--outbound-type", help="loadBalancer, userDefinedRouting, managedNATGateway ..."),
    click.option("--load-balancer-sku", help="standard or basic."),
)
_POOL_FLAGS = (
    click.option("--node-count", "-c", type=int, default=3, show_default=True, help="Number of nodes."),
    click.option("--nodepool-name", default="nodepool1", show_default=True, help="Name of the node pool."),
    click.option("--node-vm-size", "-s", help="Size of the nodes' virtual machines."),
    click.option("--max-pods", "-m", type=int, help="Pods per node, 10 to 250. Default: 250 with overlay."),
    click.option("--vnet-subnet-id", help="The ID of a subnet for the nodes."),
    click.option("--pod-subnet-id", help="The ID of a subnet for the pods."),
    click.option("--os-sku", help="The OS of the nodes: Ubuntu, AzureLinux."),
    click.option("--node-osdisk-size", type=int, help="Size in GiB of the nodes' OS disk."),
    click.option("--vm-set-type", help="VirtualMachineScaleSets or AvailabilitySet."),
)
_CLUSTER_FLAGS = (
    click.option("--kubernetes-version", "-k", help="Version of Kubernetes."),
    click.option("--dns-name-prefix", "-p", help="Prefix for host names."),
    click.option("--node-resource-group", help="The group for the cluster's own resources."),
    click.option("--ssh-key-value", help="Public key or its file. Kept with the cluster; lab nodes run no SSH server."),
    click.option("--generate-ssh-keys", is_flag=True, help="Use ~/.ssh/id_rsa.pub when there is one."),
    click.option("--no-ssh-key", "-x", is_flag=True, help="No SSH key."),
    click.option("--enable-managed-identity", is_flag=True, default=True, hidden=True),
    click.option("--tier", help="free, standard or premium."),
)


def _flags(command: Any) -> Any:
    for option in reversed((*_NETWORK_FLAGS, *_POOL_FLAGS, *_CLUSTER_FLAGS)):
        command = option(command)
    return command


_TABLE = (
    "{name: name, location: location, resourceGroup: resourceGroup, kubernetesVersion: kubernetesVersion,"
    " currentKubernetesVersion: currentKubernetesVersion, provisioningState: provisioningState, fqdn: fqdn}"
)


@click.command(cls=AzCommand)
@name_option("--name", "-n", help="Name of the managed cluster.")
@group_option()
@location_option()
@_flags
@tags_option
@yes_option
@no_wait_option
@prints(_TABLE)
def create(name: str, resource_group: str, location: str | None, no_wait: bool, **given: Any) -> Json | None:
    """Create a managed Kubernetes cluster.

    The same create again is harmless; a cluster of that name with other settings is left alone.
    """
    from podloom.cli.operations import put
    from podloom.render.shapes import cluster_shape

    _check(given)

    async def work(cloud: Any, lab: Lab) -> Json | None:
        group = await cloud.find(str(lab.group(resource_group))) or {}
        body = cluster_body(given, location or str(group.get("location", "")))
        id_ = lab.resource(resource_group, MANAGED_CLUSTERS, name)
        found = await put(cloud, id_, body, f"create cluster {name}", no_wait=no_wait, only_new=True)
        return found and cluster_shape(found)

    return with_cloud(work)


def cluster_body(given: Json, location: str) -> Json:
    """The PUT body for what was typed; what was not typed is left to the service."""
    network = {
        "networkPlugin": given["network_plugin"],
        "networkPluginMode": given["network_plugin_mode"],
        "networkPolicy": given["network_policy"],
        "networkDataplane": given["network_dataplane"] or ("cilium" if given["enable_ebpf_dataplane"] else None),
        "podCidr": given["pod_cidr"],
        "podCidrs": split_commas(given["pod_cidrs"]) or None,
        "serviceCidr": given["service_cidr"],
        "serviceCidrs": split_commas(given["service_cidrs"]) or None,
        "dnsServiceIP": given["dns_service_ip"],
        "ipFamilies": [_family(text) for text in split_commas(given["ip_families"])] or None,
        "outboundType": given["outbound_type"],
        "loadBalancerSku": given["load_balancer_sku"],
    }
    pool = {
        "name": given["nodepool_name"],
        "count": given["node_count"],
        "vmSize": given["node_vm_size"],
        "maxPods": given["max_pods"],
        "vnetSubnetID": given["vnet_subnet_id"],
        "podSubnetID": given["pod_subnet_id"],
        "osSKU": given["os_sku"],
        "osDiskSizeGB": given["node_osdisk_size"],
        "type": given["vm_set_type"],
        "osType": "Linux",
        "mode": "System",
    }
    properties = {
        "kubernetesVersion": given["kubernetes_version"],
        "dnsPrefix": given["dns_name_prefix"],
        "nodeResourceGroup": given["node_resource_group"],
        "networkProfile": _typed(network),
        "agentPoolProfiles": [_typed(pool)],
        "linuxProfile": _linux_profile(given),
    }
    body: Json = {"location": location, "identity": {"type": "SystemAssigned"}, "properties": _typed(properties)}
    if given["tags"]:
        body["tags"] = parse_tags(given["tags"])
    if given["tier"]:
        body["sku"] = {"name": "Base", "tier": str(given["tier"]).capitalize()}
    return body


def _check(given: Json) -> None:
    """The mistakes az finds without asking the service (arm-contract)."""
    if given["enable_ebpf_dataplane"]:
        warn("--enable-ebpf-dataplane is deprecated: use --network-dataplane cilium.")
    pods = given["pod_cidr"] or given["pod_cidrs"]
    if given["network_plugin"] == "azure" and pods and not given["network_plugin_mode"]:
        raise click.ClickException(
            "--pod-cidr with --network-plugin azure needs --network-plugin-mode overlay (or use kubenet)."
        )
    if given["outbound_type"] == "userDefinedRouting" and not given["vnet_subnet_id"]:
        raise click.ClickException("--outbound-type userDefinedRouting needs --vnet-subnet-id.")
    policy = given["network_policy"]
    if policy and policy != policy.lower():
        raise click.ClickException(f"--network-policy should be in lower case: {policy.lower()}.")


def _linux_profile(given: Json) -> Json | None:
    """The SSH key az would send: the one named, else the user's own when there is one."""
    if given["no_ssh_key"] or not (given["ssh_key_value"] or given["generate_ssh_keys"]):
        return None
    text = given["ssh_key_value"] or str(Path("~/.ssh/id_rsa.pub").expanduser())
    if not text.startswith("ssh-") and Path(text).is_file():
        text = Path(text).read_text()
    if not text.startswith("ssh-"):
        return None
    return {"adminUsername": "azureuser", "ssh": {"publicKeys": [{"keyData": text}]}}


def _family(text: str) -> str:
    return {"ipv4": "IPv4", "ipv6": "IPv6"}.get(text.lower(), text)


def _typed(values: Json) -> Json:
    """Only what was typed."""
    return {key: value for key, value in values.items() if value is not None}
