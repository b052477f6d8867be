"""Long operations, reports, the change stream, and what a kill -9 leaves of them."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from cloudkit import KUBECONFIG, CloudProcess, cluster_body, group, nic_address, nic_body, realiser, vnet_body
from podloom.drivers.arm import Change, CloudClient, CloudError
from podloom.model.arm import MANAGED_CLUSTERS, NETWORK_INTERFACES, VIRTUAL_NETWORKS
from podloom.model.errors import Unavailable

RG = str(group())
CLUSTER = str(group().within(MANAGED_CLUSTERS, "k"))
VNET = group().within(VIRTUAL_NETWORKS, "net")


@pytest.fixture(autouse=True)
async def _group(client: CloudClient) -> None:
    await client.put(RG, {"location": "westcentralus"})


async def _state(client: CloudClient) -> str:
    return str((await client.get(CLUSTER))["properties"]["provisioningState"])


async def _changes(client: CloudClient, since: int = 0) -> list[Change]:
    found = []
    async for change in client.changes(since):
        found.append(change)
        if change.marker == "synced":
            break
    return found


async def test_a_cluster_is_creating_until_the_lab_says_so(client: CloudClient) -> None:
    _, url = await client.begin("PUT", CLUSTER, cluster_body())
    body, pause_s = await client.operation(url)
    assert (body["status"], pause_s) == ("InProgress", 1.0)
    assert await _state(client) == "Creating"
    await client.report(CLUSTER, {"provisioningState": "Succeeded"})
    assert (await client.operation(url))[0]["status"] == "Succeeded"
    pools = (await client.get(CLUSTER))["properties"]["agentPoolProfiles"]
    assert [pool["provisioningState"] for pool in pools] == ["Succeeded"]


async def test_the_same_create_again_is_the_same_operation(client: CloudClient) -> None:
    _, first = await client.begin("PUT", CLUSTER, cluster_body())
    _, second = await client.begin("PUT", CLUSTER, cluster_body())
    assert first == second
    with pytest.raises(CloudError) as caught:
        await client.put(CLUSTER, cluster_body(count=2))
    assert (caught.value.status, caught.value.code) == (409, "OperationNotAllowed")


async def test_a_failed_create_says_why_and_can_be_repeated(client: CloudClient) -> None:
    _, url = await client.begin("PUT", CLUSTER, cluster_body())
    reason = {"code": "NodesNotReady", "message": "node 1 never came"}
    await client.report(CLUSTER, {"provisioningState": "Failed", "error": reason})
    state, _ = await client.operation(url)
    assert (state["status"], state["error"]) == ("Failed", reason)
    assert await _state(client) == "Failed"
    body, again = await client.begin("PUT", CLUSTER, cluster_body())
    assert again != url
    assert body["properties"]["provisioningState"] == "Updating"
    assert body["properties"]["podloom"]["generation"] == 2


async def test_a_late_report_about_an_older_wish_ends_nothing(client: CloudClient) -> None:
    await client.put(CLUSTER, cluster_body())
    await client.report(CLUSTER, {"provisioningState": "Succeeded"}, generation=1)
    _, url = await client.begin("PUT", CLUSTER, cluster_body(count=2))
    await client.report(CLUSTER, {"provisioningState": "Succeeded"}, generation=1)
    assert (await client.operation(url))[0]["status"] == "InProgress"
    await client.report(CLUSTER, {"provisioningState": "Succeeded"}, generation=2)
    assert (await client.operation(url))[0]["status"] == "Succeeded"


async def test_deleting_holds_against_late_success_and_ends_with_finalize(client: CloudClient) -> None:
    _, create = await client.begin("PUT", CLUSTER, cluster_body())
    _, delete = await client.begin("DELETE", CLUSTER)
    assert (await client.operation(create))[0]["status"] == "Canceled"
    await client.report(CLUSTER, {"provisioningState": "Succeeded"}, generation=1)
    assert await _state(client) == "Deleting"
    _, again = await client.begin("DELETE", CLUSTER)
    assert again == delete
    await client.finalize(CLUSTER)
    await client.finalize(CLUSTER)
    assert (await client.operation(delete))[0]["status"] == "Succeeded"
    assert await client.find(CLUSTER) is None
    assert [g["name"] for g in await client.list("Microsoft.Resources/resourceGroups")] == ["rg"]
    assert await client.begin("DELETE", CLUSTER) == ({}, "")


async def test_wishes_that_overtake_each_other_end_together(client: CloudClient) -> None:
    """Two subnets made at once: neither operation may be lost to the other."""
    await client.put(str(VNET), vnet_body())
    made = [
        await client.begin("PUT", str(VNET.child("subnets", name)), {"properties": {"addressPrefix": prefix}})
        for name, prefix in (("a", "10.1.0.0/24"), ("b", "10.1.1.0/24"))
    ]
    generation = (await client.get(str(VNET)))["properties"]["podloom"]["generation"]
    await client.report(str(VNET), {"provisioningState": "Succeeded"}, generation=generation - 1)
    assert [(await client.operation(url))[0]["status"] for _, url in made] == ["InProgress"] * 2
    await client.report(str(VNET), {"provisioningState": "Succeeded"}, generation=generation)
    assert [(await client.operation(url))[0]["status"] for _, url in made] == ["Succeeded"] * 2


async def test_the_cloud_answers_only_who_can_read_its_token(cloud: CloudProcess, tmp_path: Path) -> None:
    token = cloud.ca.with_name("cloud.token")
    assert token.stat().st_mode & 0o777 == 0o600
    (tmp_path / "wrong").write_text("guess")
    for path in (tmp_path / "none", tmp_path / "wrong"):
        async with CloudClient(cloud.url, cloud.ca, path) as stranger:
            with pytest.raises(CloudError) as caught:
                await stranger.get(RG)
            assert (caught.value.status, caught.value.code) == (401, "AuthenticationFailed")


async def test_a_removal_that_fails_stays_wished_and_can_be_asked_again(client: CloudClient) -> None:
    await client.put(CLUSTER, cluster_body())
    _, group_url = await client.begin("DELETE", RG)
    _, url = await client.begin("DELETE", CLUSTER)
    generation = (await client.get(CLUSTER))["properties"]["podloom"]["generation"]
    reason = {"code": "NodeStuck", "message": "node 1 does not end"}
    await client.report(CLUSTER, {"provisioningState": "Failed", "error": reason}, generation=generation)
    for failed in (url, group_url):
        state, _ = await client.operation(failed)
        assert (state["status"], state["error"]) == ("Failed", reason)
    assert await _state(client) == "Deleting"
    _, again = await client.begin("DELETE", RG)
    assert (await client.operation(again))[0]["status"] == "InProgress"
    await client.finalize(CLUSTER)
    assert (await client.operation(again))[0]["status"] == "Succeeded"


async def test_only_what_is_being_deleted_can_be_finalized(client: CloudClient) -> None:
    await client.put(CLUSTER, cluster_body())
    with pytest.raises(CloudError) as caught:
        await client.finalize(CLUSTER)
    assert caught.value.status == 409


async def test_node_pools_are_the_cluster(client: CloudClient) -> None:
    await client.put(CLUSTER, cluster_body())
    await client.report(CLUSTER, {"provisioningState": "Succeeded"})
    pool = f"{CLUSTER}/agentPools/extra"
    _, url = await client.begin("PUT", pool, {"properties": {"count": 2, "mode": "User"}})
    states = {
        item["name"]: item["properties"]["provisioningState"] for item in await client.list(f"{CLUSTER}/agentPools")
    }
    assert states == {"nodepool1": "Succeeded", "extra": "Creating"}
    await client.report(CLUSTER, {"provisioningState": "Succeeded"})
    assert (await client.operation(url))[0]["status"] == "Succeeded"
    assert (await client.get(pool))["properties"]["maxPods"] == 250
    await client.delete(pool)
    assert await client.find(pool) is None
    with pytest.raises(CloudError) as caught:
        await client.put(f"{CLUSTER}/agentPools/Bad_Name", {"properties": {"count": 1}})
    assert caught.value.code == "InvalidParameter"


async def test_credentials_are_apart_from_the_document_and_carry_akss_names(client: CloudClient) -> None:
    await client.put(CLUSTER, cluster_body())
    with pytest.raises(CloudError) as caught:
        await client.post(f"{CLUSTER}/listClusterUserCredential")
    assert caught.value.status == 409
    told = await client.report(CLUSTER, {"provisioningState": "Succeeded", "kubeconfigs": {"admin": KUBECONFIG}})
    assert "secret" not in str(told)
    assert "secret" not in str(await _changes(client))
    found = await client.post(f"{CLUSTER}/listClusterAdminCredential")
    assert found["kubeconfigs"][0]["name"] == "clusterAdmin"


async def test_a_report_that_changes_nothing_wakes_nobody(client: CloudClient) -> None:
    await client.put(CLUSTER, cluster_body())
    await client.report(CLUSTER, {"fqdn": "k.example"})
    seq = (await client.get("/podloom/status"))["seq"]
    await client.report(CLUSTER, {"fqdn": "k.example"})
    assert (await client.get("/podloom/status"))["seq"] == seq


async def test_the_stream_starts_with_everything_and_resumes_after_the_last_seen(client: CloudClient) -> None:
    await client.put(CLUSTER, cluster_body())
    first = await _changes(client)
    assert (first[0].marker, first[-1].marker) == ("snapshot", "synced")
    assert {change.id.rsplit("/", 1)[-1] for change in first[1:-1]} == {"rg", "k", "MC_rg_k_westcentralus"}
    await client.delete(CLUSTER)
    await client.finalize(CLUSTER)
    second = await _changes(client, first[-1].seq)
    assert second[0].marker == "resume"
    gone = {change.id.rsplit("/", 1)[-1] for change in second if change.deleted}
    assert gone == {"k", "MC_rg_k_westcentralus"}


async def test_a_watcher_lives_through_a_restart_of_the_cloud(cloud: CloudProcess, client: CloudClient) -> None:
    seen: asyncio.Queue[Change] = asyncio.Queue()

    async def watch() -> None:
        async for change in client.changes():
            await seen.put(change)

    async def until(name: str) -> None:
        while not (await asyncio.wait_for(seen.get(), 10)).id.endswith(f"/{name}"):
            pass

    task = asyncio.create_task(watch())
    await until("rg")
    cloud.kill()
    cloud.start()
    await client.put(str(group("later")), {"location": "westcentralus"})
    await until("later")
    task.cancel()


async def test_an_operation_in_flight_survives_a_kill(cloud: CloudProcess, client: CloudClient) -> None:
    _, url = await client.begin("PUT", CLUSTER, cluster_body())
    cloud.kill()
    cloud.start()
    assert (await client.operation(url))[0]["status"] == "InProgress"
    assert await _state(client) == "Creating"
    await client.report(CLUSTER, {"provisioningState": "Succeeded"})
    cloud.kill()
    cloud.start()
    assert (await client.operation(url))[0]["status"] == "Succeeded"


async def test_kills_at_any_moment_lose_no_answer_and_give_no_address_twice(
    cloud: CloudProcess, client: CloudClient
) -> None:
    """Whatever was answered is there after each kill; no address has two owners; a repeated PUT keeps its own."""
    seeded = random.Random(7)
    await client.put(str(VNET), vnet_body(("a", "10.1.0.0/24")))
    subnet = str(VNET.child("subnets", "a"))
    answered: dict[str, str] = {}

    async def churn() -> None:
        for number in range(200):
            nic = str(group().within(NETWORK_INTERFACES, f"nic{number}"))
            answered[nic] = nic_address(await client.put(nic, nic_body(subnet)))

    for _ in range(5):
        work = asyncio.create_task(churn())
        await asyncio.sleep(seeded.uniform(0.01, 0.12))
        cloud.kill()
        with pytest.raises(Unavailable):
            await work
        cloud.start()
        kept = {nic["id"]: nic_address(nic) for nic in await client.list(NETWORK_INTERFACES)}
        assert answered.items() <= kept.items()
        assert len(set(kept.values())) == len(kept)


async def test_create_and_delete_complete_across_kills(cloud: CloudProcess, client: CloudClient) -> None:
    """The realising side and the cloud may both be away in between: the operations end all the same."""
    async with realiser(client):
        for _ in range(3):
            _, url = await client.begin("PUT", CLUSTER, cluster_body())
            cloud.kill()
            cloud.start()
            await asyncio.wait_for(client.wait({"Azure-AsyncOperation": url}), 15)
            assert await _state(client) == "Succeeded"
            _, url = await client.begin("DELETE", CLUSTER)
            cloud.kill()
            cloud.start()
            await asyncio.wait_for(client.wait({"Azure-AsyncOperation": url}), 15)
            assert await client.find(CLUSTER) is None
