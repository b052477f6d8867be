"""`podloom` as a real command against a cloud as a real process: what a user types, sees and scripts on."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from cloudkit import CloudProcess, realiser
from podloom.drivers.arm import CloudClient

CREATE = (
    "aks create --name myOverlayCluster --resource-group myResourceGroup --location westcentralus"
    " --network-plugin azure --network-plugin-mode overlay --pod-cidr 192.168.0.0/16 --node-count 2"
    " --generate-ssh-keys"
)


async def run(cloud: CloudProcess, line: str, *more: str, **env: str) -> Any:
    """Run a command line in a thread, so that the test's realiser goes on."""
    return await asyncio.to_thread(cloud.cli, *line.split(), *more, env=env)


async def good(cloud: CloudProcess, line: str, *more: str) -> str:
    done = await run(cloud, line, *more)
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


@pytest.fixture
async def realised(client: CloudClient) -> Any:
    """A cloud whose wishes come true."""
    async with realiser(client):
        yield


@pytest.mark.usefixtures("realised")
async def test_the_documented_create_from_nothing_to_kubeconfig(cloud: CloudProcess, tmp_path: Path) -> None:
    made = json.loads(await good(cloud, "group create --name myResourceGroup --location westcentralus"))
    assert made["properties"] == {"provisioningState": "Succeeded"}
    done = await run(cloud, CREATE)
    assert done.returncode == 0, done.stderr
    cluster = json.loads(done.stdout)
    assert "create cluster myOverlayCluster: control plane: done" in done.stderr
    assert cluster["provisioningState"] == "Succeeded"
    assert cluster["networkProfile"]["podCidr"] == "192.168.0.0/16"
    assert cluster["resourceGroup"] == "myResourceGroup"
    assert [pool["count"] for pool in cluster["agentPoolProfiles"]] == [2]
    again = await run(cloud, CREATE)
    assert json.loads(again.stdout)["podloom"]["generation"] == 1
    path = tmp_path / "config"
    await good(cloud, f"aks get-credentials -n myOverlayCluster -g myResourceGroup --file {path}")
    config = yaml.safe_load(path.read_text())
    assert config["current-context"] == "myOverlayCluster"
    assert config["users"][0]["name"] == "clusterUser_myResourceGroup_myOverlayCluster"
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.usefixtures("realised")
async def test_tables_are_azs(cloud: CloudProcess) -> None:
    await good(cloud, "group create -n rg -l westeurope")
    assert (await good(cloud, "group list -o table")) == (
        "Name    Location    Status\n------  ----------  ---------\nrg      westeurope  Succeeded\n"
    )
    await good(cloud, "aks create -n k -g rg -c 1")
    lines = (await good(cloud, "aks list -o table")).splitlines()
    heads = "Name Location ResourceGroup KubernetesVersion CurrentKubernetesVersion ProvisioningState Fqdn"
    assert lines[0].split() == heads.split()
    assert lines[2].split() == ["k", "westeurope", "rg", "1.36.2", "1.36.2", "Succeeded", "k.test"]
    pools = (await good(cloud, "aks nodepool list --cluster-name k -g rg -o table")).splitlines()
    assert pools[2].split()[:5] == ["nodepool1", "Linux", "1.36.2", "Standard_D2s_v5", "128"]


@pytest.mark.usefixtures("realised")
async def test_queries_and_formats(cloud: CloudProcess) -> None:
    await good(cloud, "group create -n rg -l westeurope --tags a=1 b=2")
    assert await good(cloud, "group show -n rg --query location -o tsv") == "westeurope\n"
    assert json.loads(await good(cloud, "group show -n rg --query tags")) == {"a": "1", "b": "2"}
    assert await good(cloud, "group list -o tsv --query", "[].{n:name,l:location}") == "rg\twesteurope\n"
    assert yaml.safe_load(await good(cloud, "group show -n rg -o yaml"))["name"] == "rg"
    assert await good(cloud, "group show -n rg -o none") == ""
    wrong = await run(cloud, "group list --query [?")
    assert (wrong.returncode, "invalid jmespath" in wrong.stderr) == (2, True)


@pytest.mark.usefixtures("realised")
async def test_networks(cloud: CloudProcess) -> None:
    await good(cloud, "group create -n rg -l westeurope")
    made = json.loads(
        await good(cloud, "network vnet create -n net -g rg --address-prefixes 10.1.0.0/16 10.2.0.0/16 -o json")
    )
    assert made["newVNet"]["addressSpace"]["addressPrefixes"] == ["10.1.0.0/16", "10.2.0.0/16"]
    subnet = json.loads(
        await good(cloud, "network vnet subnet create -n a --vnet-name net -g rg --address-prefix 10.1.0.0/24")
    )
    assert (subnet["addressPrefix"], subnet["provisioningState"]) == ("10.1.0.0/24", "Succeeded")
    row = (await good(cloud, "network vnet list -g rg -o table")).splitlines()
    assert re.split(r"  +", row[2])[:5] == ["net", "rg", "westeurope", "1", "10.1.0.0/16, 10.2.0.0/16"]
    assert json.loads(await good(cloud, "network vnet subnet list --vnet-name net -g rg --query [].name")) == ["a"]
    await good(cloud, f"aks create -n k -g rg -c 1 --vnet-subnet-id {subnet['id']}")
    blocked = await run(cloud, "network vnet delete -n net -g rg")
    assert (blocked.returncode, "InUseSubnetCannotBeDeleted" in blocked.stderr) == (1, True)
    await good(cloud, "aks delete -n k -g rg --yes")
    await good(cloud, "network vnet delete -n net -g rg")
    assert json.loads(await good(cloud, "network vnet list")) == []
    assert await good(cloud, "network nic list") == "[]\n"


@pytest.mark.usefixtures("realised")
async def test_all_mistakes_of_a_create_are_listed_and_nothing_is_made(cloud: CloudProcess) -> None:
    await good(cloud, "group create -n rg -l westeurope")
    line = (
        "aks create -n k -g rg --network-plugin azure --network-plugin-mode overlay --pod-cidr 10.244.0.0/25"
        " --service-cidr 10.0.0.0/8 --max-pods 5 --nodepool-name BAD"
    )
    done = await run(cloud, line)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("ERROR: (")
    for code in ("InvalidParameter", "InsufficientMaxPods", "InsufficientSubnetSize", "ServiceCidrTooLarge"):
        assert f"({code})" in done.stderr
    assert "OVL-15" in done.stderr
    assert json.loads(await good(cloud, "aks list")) == []
    assert json.loads(await good(cloud, "group list --query [].name")) == ["rg"]


@pytest.mark.usefixtures("client")
async def test_an_unknown_group_does_not_hide_the_other_mistakes(cloud: CloudProcess) -> None:
    done = await run(cloud, "aks create -n k -g none --pod-cidr 10.0.0.0/33 --max-pods 5")
    assert done.returncode == 3
    for code in ("ResourceGroupNotFound", "CidrStringParseError", "InsufficientMaxPods"):
        assert f"({code})" in done.stderr
    assert "LocationRequired" not in done.stderr


async def test_what_is_not_there_is_exit_code_3(cloud: CloudProcess, client: CloudClient) -> None:
    for line, code in (
        ("group show -n none", "ResourceGroupNotFound"),
        ("aks create -n k -g none", "ResourceGroupNotFound"),
        ("aks show -n k -g none", "ResourceGroupNotFound"),
        ("aks delete -n k -g none --yes", "ResourceGroupNotFound"),
        ("network vnet show -n v -g none", "ResourceGroupNotFound"),
    ):
        done = await run(cloud, line)
        assert (done.returncode, f"ERROR: ({code})" in done.stderr) == (3, True), done.stderr
    await good(cloud, "group create -n rg -l westeurope")
    missing = await run(cloud, "aks get-credentials -n k -g rg")
    assert (missing.returncode, "ResourceNotFound" in missing.stderr) == (3, True)


@pytest.mark.usefixtures("realised")
async def test_an_existing_cluster_is_never_changed_by_create(cloud: CloudProcess) -> None:
    await good(cloud, "group create -n rg -l westeurope")
    await good(cloud, "aks create -n k -g rg -c 1")
    other = await run(cloud, "aks create -n k -g rg -c 3")
    assert (other.returncode, "ResourceAlreadyExists" in other.stderr) == (1, True)
    assert (await good(cloud, "aks show -n k -g rg --query agentPoolProfiles[0].count")) == "1\n"


@pytest.mark.usefixtures("realised")
async def test_scale_and_pools(cloud: CloudProcess) -> None:
    await good(cloud, "group create -n rg -l westeurope")
    await good(cloud, "aks create -n k -g rg -c 1")
    await good(cloud, "aks scale -n k -g rg -c 3")
    await good(cloud, "aks nodepool add -n extra --cluster-name k -g rg -c 2 --only-show-errors")
    shown = json.loads(await good(cloud, "aks nodepool list --cluster-name k -g rg"))
    assert {pool["name"]: (pool["count"], pool["mode"]) for pool in shown} == {
        "nodepool1": (3, "System"),
        "extra": (2, "User"),
    }
    unclear = await run(cloud, "aks scale -n k -g rg -c 3")
    assert (unclear.returncode, "more than one node pool" in unclear.stderr) == (1, True)
    await good(cloud, "aks nodepool delete -n extra --cluster-name k -g rg")
    assert len(json.loads(await good(cloud, "aks nodepool list --cluster-name k -g rg"))) == 1


@pytest.mark.usefixtures("client")
async def test_versions(cloud: CloudProcess) -> None:
    rows = (await good(cloud, "aks get-versions -l westeurope -o table")).splitlines()
    assert rows[0].split() == ["KubernetesVersion", "Upgrades", "SupportPlan"]
    assert rows[2].split()[0] == "1.36.2"


async def test_a_restart_of_the_cloud_does_not_end_a_command(cloud: CloudProcess, client: CloudClient) -> None:
    """The command waits for the cloud to come back and goes on watching its operation."""
    await good(cloud, "group create -n rg -l westeurope")
    command = asyncio.create_task(run(cloud, "aks create -n k -g rg -c 1"))
    while not await client.list("Microsoft.ContainerService/managedClusters"):
        await asyncio.sleep(0.02)
    cloud.kill()
    await asyncio.sleep(0.5)
    cloud.start()
    async with realiser(client):
        done = await command
    assert (done.returncode, json.loads(done.stdout)["provisioningState"]) == (0, "Succeeded")


async def test_no_wait_and_prompts(cloud: CloudProcess, client: CloudClient) -> None:
    """Nobody realises anything here: --no-wait must come back all the same."""
    await good(cloud, "group create -n rg -l westeurope")
    assert await good(cloud, "aks create -n k -g rg -c 1 --no-wait") == ""
    assert await good(cloud, "aks show -n k -g rg --query provisioningState -o tsv") == "Creating\n"
    unasked = await run(cloud, "aks delete -n k -g rg")
    assert (unasked.returncode, "--yes" in unasked.stderr) == (1, True)
    await good(cloud, "aks delete -n k -g rg --yes --no-wait")
    assert await good(cloud, "aks show -n k -g rg --query provisioningState -o tsv") == "Deleting\n"


@pytest.mark.usefixtures("client")
async def test_a_mistyped_command_gets_a_suggestion(cloud: CloudProcess) -> None:
    for line, meant in (("grup list", "group"), ("aks creat", "create"), ("network vnet subnets", "subnet")):
        done = await run(cloud, line)
        assert (done.returncode, f"Did you mean {meant}" in done.stderr) == (2, True), done.stderr


@pytest.mark.usefixtures("client")
async def test_usage_errors_are_exit_code_2(cloud: CloudProcess) -> None:
    for line in ("aks create -g rg", "group list -o xml", "nonsense", "aks create -n k -g rg --network-plugin weave"):
        assert (await run(cloud, line)).returncode == 2, line
    azs = await run(cloud, "aks create -n k -g rg --network-plugin azure --pod-cidr 10.0.0.0/16")
    assert (azs.returncode, "overlay" in azs.stderr) == (1, True)


async def test_without_a_lab_the_way_to_one_is_told(cloud: CloudProcess, tmp_path: Path) -> None:
    none = await run(cloud, "aks list", PODLOOM_STATE=str(tmp_path / "none"))
    assert (none.returncode, "podloom lab up" in none.stderr) == (1, True)
    cloud.kill()
    down = await run(cloud, "aks list")
    assert (down.returncode, "podloom lab up" in down.stderr) == (1, True)


async def test_a_create_that_died_can_be_repeated(cloud: CloudProcess, client: CloudClient) -> None:
    """The command is killed, then the cloud; the same line goes on where it was."""
    await good(cloud, "group create -n rg -l westeurope")
    env = {"PODLOOM_STATE": str(cloud.state()), "PATH": "/usr/bin:/bin"}
    words = ["-m", "podloom.cli.main", "aks", "create", "-n", "k", "-g", "rg", "-c", "1"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = await asyncio.create_subprocess_exec(sys.executable, *words, env=env, **quiet)
    while not await client.list("Microsoft.ContainerService/managedClusters"):
        await asyncio.sleep(0.02)
    process.kill()
    await process.wait()
    cloud.kill()
    cloud.start()
    async with realiser(client):
        assert json.loads(await good(cloud, "aks create -n k -g rg -c 1"))["provisioningState"] == "Succeeded"


def test_help_imports_nothing_heavy() -> None:
    """What makes `podloom --help` start in 40 ms: a group's module and its libraries load when it is used."""
    heavy = {"aiohttp", "rich", "yaml", "jmespath", "asyncio", "msgspec"}
    probe = (
        "import sys\nfrom podloom.cli import main\n"
        "try: main.main(['--help'])\nexcept SystemExit: pass\n"
        f"assert not {heavy!r} & set(sys.modules), {heavy!r} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=False)
    assert (done.returncode, "aks" in done.stdout) == (0, True), done.stderr
