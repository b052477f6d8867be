"""The cloud as a process: ARM's semantics of resources, addresses and groups."""

from __future__ import annotations

import pytest

from cloudkit import SUBSCRIPTION, CloudProcess, cluster_body, group, nic_address, nic_body, realiser, vnet_body
from podloom.drivers.arm import CloudClient, CloudError
from podloom.model.arm import MANAGED_CLUSTERS, NETWORK_INTERFACES, PUBLIC_ADDRESSES, ROUTING_DOMAINS, VIRTUAL_NETWORKS

RG = str(group())
VNET = group().within(VIRTUAL_NETWORKS, "net")
SUBNET = str(VNET.child("subnets", "a"))
CLUSTER = group().within(MANAGED_CLUSTERS, "k")


async def _network(client: CloudClient, *subnets: tuple[str, str]) -> None:
    await client.put(RG, {"location": "westcentralus"})
    await client.put(str(VNET), vnet_body(*(subnets or (("a", "10.1.0.0/24"),))))


async def refused(client: CloudClient, id_: str, body: dict[str, object]) -> CloudError:
    with pytest.raises(CloudError) as caught:
        await client.put(id_, body)
    return caught.value


async def test_paths_ignore_case_and_keep_the_first_spelling(client: CloudClient) -> None:
    """ARM compares identifiers without regard to case; any api-version is served."""
    await client.put(RG, {"location": "West Central US"})
    found = await client.get(f"/SUBSCRIPTIONS/{SUBSCRIPTION}/RESOURCEGROUPS/RG?api-version=2014-01-01")
    assert (found["id"], found["location"]) == (RG, "westcentralus")
    await client.put(str(VNET).replace("/net", "/NET").replace("virtualNetworks", "virtualnetworks"), vnet_body())
    assert (await client.get(str(VNET)))["id"].endswith("/Microsoft.Network/virtualNetworks/NET")


async def test_unknown_things_are_404_with_the_codes_users_know(client: CloudClient) -> None:
    for id_, code in (
        (RG, "ResourceGroupNotFound"),
        (str(VNET), "ResourceGroupNotFound"),
        (f"/subscriptions/other/resourceGroups/{RG}", "SubscriptionNotFound"),
    ):
        with pytest.raises(CloudError) as caught:
            await client.get(id_)
        assert (caught.value.status, caught.value.code) == (404, code)
    await client.put(RG, {"location": "westcentralus"})
    with pytest.raises(CloudError) as caught:
        await client.get(str(VNET))
    assert (caught.value.status, caught.value.code) == (404, "ResourceNotFound")


async def test_unknown_properties_survive(client: CloudClient) -> None:
    await client.put(RG, {"location": "westcentralus"})
    body = vnet_body(("a", "10.1.0.0/24"))
    body["properties"] |= {"flowTimeoutInMinutes": 7, "future": {"deep": [1]}}
    body["properties"]["subnets"][0]["properties"]["novel"] = "x"
    await client.put(str(VNET), body)
    found = (await client.get(str(VNET)))["properties"]
    assert (found["flowTimeoutInMinutes"], found["future"]) == (7, {"deep": [1]})
    assert found["subnets"][0]["properties"]["novel"] == "x"


async def test_the_same_put_again_changes_nothing(client: CloudClient) -> None:
    """Also when it repeats what the server said, as `az ... update` does."""
    await _network(client)
    await client.report(str(VNET), {"provisioningState": "Succeeded"})
    before = await client.get(str(VNET))
    again = await client.put(str(VNET), before)
    assert again == before
    assert await client.put(str(VNET), vnet_body(("a", "10.1.0.0/24"))) == before


async def test_subnets_are_the_vnet_whichever_way_they_are_written(client: CloudClient) -> None:
    await _network(client)
    child = VNET.child("subnets", "b")
    made = await client.put(str(child), {"properties": {"addressPrefixes": ["10.1.1.0/24"]}})
    assert made["properties"]["addressPrefix"] == "10.1.1.0/24"
    inline = (await client.get(str(VNET)))["properties"]["subnets"]
    assert [subnet["name"] for subnet in inline] == ["a", "b"]
    assert [item["name"] for item in await client.list(f"{VNET}/subnets")] == ["a", "b"]
    await client.delete(str(child))
    assert await client.find(str(child)) is None
    error = await refused(client, str(child), {"properties": {"addressPrefix": "10.1.0.128/25"}})
    assert error.code == "NetcfgSubnetRangesOverlap"


async def test_addresses_start_after_the_four_reserved_and_stay(client: CloudClient) -> None:
    """PLAN-01: the first four addresses and the last are Azure's; a /29 serves three NICs."""
    await _network(client, ("a", "10.1.0.0/29"))
    nics = [str(group().within(NETWORK_INTERFACES, f"nic{n}")) for n in range(4)]
    addresses = [nic_address(await client.put(nic, nic_body(SUBNET))) for nic in nics[:3]]
    assert addresses == ["10.1.0.4", "10.1.0.5", "10.1.0.6"]
    error = await refused(client, nics[3], nic_body(SUBNET))
    assert (error.code, error.status) == ("SubnetIsFull", 400)
    assert await client.find(nics[3]) is None
    await client.delete(nics[1])
    assert nic_address(await client.put(nics[3], nic_body(SUBNET))) == "10.1.0.5"
    assert nic_address(await client.put(nics[0], nic_body(SUBNET))) == "10.1.0.4"


@pytest.mark.parametrize(
    ("address", "code"),
    [
        ("10.1.0.3", "PrivateIPAddressInReservedRange"),
        ("10.1.0.255", "PrivateIPAddressInReservedRange"),
        ("10.1.1.4", "PrivateIPAddressNotInSubnet"),
        ("10.1.0.300", "InvalidIPAddress"),
        ("10.1.0.9", "PrivateIPAddressIsAllocated"),
    ],
)
async def test_static_addresses_are_checked(client: CloudClient, address: str, code: str) -> None:
    await _network(client)
    taken = str(group().within(NETWORK_INTERFACES, "taken"))
    assert nic_address(await client.put(taken, nic_body(SUBNET, "10.1.0.9"))) == "10.1.0.9"
    nic = str(group().within(NETWORK_INTERFACES, "nic"))
    assert (await refused(client, nic, nic_body(SUBNET, address))).code == code
    assert await client.find(nic) is None
    assert nic_address(await client.put(nic, nic_body(SUBNET))) == "10.1.0.4"


async def test_macs_differ_and_stay(client: CloudClient) -> None:
    await _network(client)
    nics = [str(group().within(NETWORK_INTERFACES, f"nic{n}")) for n in range(20)]
    made = [(await client.put(nic, nic_body(SUBNET)))["properties"]["macAddress"] for nic in nics]
    assert len(set(made)) == 20
    assert all(mac.startswith("00-0D-3A-") for mac in made)
    changed = await client.put(nics[0], {**nic_body(SUBNET), "tags": {"a": "b"}})
    assert changed["properties"]["macAddress"] == made[0]


async def test_public_addresses_come_from_the_lab_and_run_out(client: CloudClient) -> None:
    await client.put(RG, {"location": "westcentralus"})
    seen = set()
    for number in range(254):
        made = await client.put(str(group().within(PUBLIC_ADDRESSES, f"p{number}")), {})
        seen.add(made["properties"]["ipAddress"])
    assert len(seen) == 254
    assert all(address.startswith("198.19.1.") for address in seen)
    error = await refused(client, str(group().within(PUBLIC_ADDRESSES, "more")), {})
    assert error.code == "PublicIPCountLimitReached"


async def test_what_is_in_use_cannot_go(client: CloudClient) -> None:
    await _network(client)
    await client.put(str(group().within(NETWORK_INTERFACES, "nic")), nic_body(SUBNET))
    for id_ in (SUBNET, str(VNET)):
        with pytest.raises(CloudError) as caught:
            await client.delete(id_)
        assert caught.value.code == "InUseSubnetCannotBeDeleted"
    assert (await refused(client, SUBNET, {"properties": {"addressPrefix": "10.1.9.0/24"}})).code == (
        "InUseSubnetCannotBeDeleted"
    )
    assert nic_address(await client.get(str(group().within(NETWORK_INTERFACES, "nic")))) == "10.1.0.4"


async def test_a_group_takes_everything_with_it_clusters_first(client: CloudClient) -> None:
    """The group stays Deleting until the lab has finalized its clusters; then all is gone at once."""
    await _network(client)
    await client.put(str(CLUSTER), cluster_body(subnet=SUBNET))
    nodes = (await client.get(str(CLUSTER)))["properties"]["nodeResourceGroup"]
    nic = str(group(nodes).within(NETWORK_INTERFACES, "node-nic"))
    await client.put(nic, nic_body(SUBNET))
    _, url = await client.begin("DELETE", RG)
    assert (await client.operation(url))[0]["status"] == "InProgress"
    assert (await client.get(str(CLUSTER)))["properties"]["provisioningState"] == "Deleting"
    error = await refused(client, str(group().within(PUBLIC_ADDRESSES, "p")), {})
    assert (error.status, error.code) == (409, "ResourceGroupBeingDeleted")
    await client.finalize(str(CLUSTER))
    assert (await client.operation(url))[0]["status"] == "Succeeded"
    assert await client.list(f"/subscriptions/{SUBSCRIPTION}/resourceGroups") == []
    assert await client.list(NETWORK_INTERFACES) == []


async def test_a_group_others_depend_on_cannot_go(client: CloudClient) -> None:
    """A cluster elsewhere uses this group's subnet; nothing of the group is touched."""
    await _network(client)
    await client.put(str(group("other")), {"location": "westcentralus"})
    await client.put(str(group("other").within(MANAGED_CLUSTERS, "k")), cluster_body(subnet=SUBNET))
    with pytest.raises(CloudError) as caught:
        await client.delete(RG)
    assert caught.value.code == "InUseSubnetCannotBeDeleted"
    assert (await client.get(RG))["properties"]["provisioningState"] == "Succeeded"


async def test_tags_can_be_patched(client: CloudClient, cloud: CloudProcess) -> None:
    await client.put(RG, {"location": "westcentralus"})
    body, _ = await client.begin("PATCH", RG, {"tags": {"a": "1"}})
    assert body["tags"] == {"a": "1"}
    assert (await client.put(RG, {"location": "westcentralus"}))["tags"] == {"a": "1"}


async def test_a_realised_network_ends_its_operation(client: CloudClient) -> None:
    async with realiser(client):
        await client.put(RG, {"location": "westcentralus"}, wait=True)
        made = await client.put(str(VNET), vnet_body(("a", "10.1.0.0/24")), wait=True)
        assert made["properties"]["provisioningState"] == "Succeeded"


async def test_routes_to_a_nic_go_with_it(client: CloudClient) -> None:
    """OVL-04: who gets the address of a removed node next gets none of its pods' packets."""
    domain = group().within(ROUTING_DOMAINS, "pods")
    nics = [str(group().within(NETWORK_INTERFACES, name)) for name in ("node-1", "node-2", "other")]
    async with realiser(client):
        await client.put(RG, {"location": "westcentralus"})
        await client.put(str(VNET), vnet_body(("a", "10.1.0.0/24")), wait=True)
        await client.put(
            str(domain), {"properties": {"virtualNetwork": {"id": str(VNET)}, "podCidrs": ["192.168.0.0/16"]}}
        )
        for number, nic in enumerate(nics[:2]):
            made = await client.put(nic, nic_body(SUBNET))
            route = {"addressPrefixes": [f"192.168.{number}.0/24"], "nextHopIpAddress": nic_address(made)}
            await client.put(f"{domain}/routes/node-{number + 1}", {"properties": route})
        freed = nic_address(await client.get(nics[0]))
        await client.delete(nics[0], wait=True)
        assert [r["name"] for r in await client.list(f"{domain}/routes")] == ["node-2"]
        assert nic_address(await client.put(nics[2], nic_body(SUBNET))) == freed
