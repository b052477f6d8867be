"""The DNS server on real sockets: cluster names, forwarding, truncation, TCP, health, bad input."""

from __future__ import annotations

import asyncio
import os
import struct
from collections.abc import AsyncIterator

import dns.asyncquery
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from podloom.drivers.kube.fake import FakeKube
from podloom.kube.dns.forward import Upstream
from podloom.kube.dns.manifest import dns_manifests
from podloom.kube.dns.server import DnsServer, Responder, serve_health
from podloom.kube.dns.source import ClusterSource
from podloom.model.kube import ENDPOINTSLICES, NAMESPACES, SERVICES, Object

DOMAIN = "cluster.local"


class World(asyncio.DatagramProtocol):
    """An upstream that knows www.example.com, is silent about lost.example.com and cuts big.example.com short."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: object) -> None:
        query = dns.message.from_wire(data)
        name = query.question[0].name.to_text(omit_final_dot=True)
        response = dns.message.make_response(query)
        if name == "lost.example.com":
            return
        if name.startswith("www.example.com"):
            response.answer.append(dns.rrset.from_text(f"{name}.", 60, "IN", "A", "192.0.2.7"))
        else:
            response.set_rcode(dns.rcode.NXDOMAIN)
        self.transport.sendto(response.to_wire(), addr)  # type: ignore[attr-defined]


def slice_of(service: str, addresses: list[str]) -> Object:
    endpoints = [{"addresses": [a], "conditions": {"ready": True}} for a in addresses]
    labels = {"kubernetes.io/service-name": service}
    meta = {"name": f"{service}-1", "namespace": "shop", "labels": labels}
    return {"metadata": meta, "addressType": "IPv4", "endpoints": endpoints, "ports": [{"port": 80}]}


def service(name: str, **spec: object) -> Object:
    return {"metadata": {"name": name, "namespace": "shop"}, "spec": spec}


@pytest.fixture
async def kube() -> FakeKube:
    fake = FakeKube()
    fake.put(NAMESPACES, {"metadata": {"name": "shop"}, "spec": {}})
    fake.put(SERVICES, service("web", clusterIP="10.0.0.20", ports=[{"port": 80}]))
    fake.put(SERVICES, service("many", clusterIP="None", ports=[{"port": 80}]))
    fake.put(ENDPOINTSLICES, slice_of("many", [f"10.1.{n // 250}.{n % 250}" for n in range(400)]))
    fake.put(SERVICES, service("out", type="ExternalName", externalName="www.example.com"))
    return fake


@pytest.fixture
async def server(kube: FakeKube) -> AsyncIterator[DnsServer]:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(World, local_addr=("127.0.0.1", 0))
    upstream = Upstream([transport.get_extra_info("sockname")], timeout_s=0.1)
    source = ClusterSource(kube)
    async with source.following():
        await source.wait()
        dns_server = DnsServer(Responder(DOMAIN, source, upstream))
        await dns_server.start("127.0.0.1", 0)
        yield dns_server
        await dns_server.stop()
    transport.close()


async def ask(
    server: DnsServer, name: str, kind: str = "A", *, tcp: bool = False, edns: int = -1
) -> dns.message.Message:
    query = dns.message.make_query(name, kind, use_edns=edns if edns < 0 else 0, payload=max(edns, 0) or 1232)
    way = dns.asyncquery.tcp if tcp else dns.asyncquery.udp
    return await way(query, "127.0.0.1", port=server.port, timeout=3)


def values(message: dns.message.Message) -> list[str]:
    return [rdata.to_text() for rrset in message.answer for rdata in rrset]


async def test_cluster_name_and_case(server: DnsServer) -> None:
    """A Service's address, the name spelled back as asked, with the authoritative bit."""
    found = await ask(server, "Web.Shop.svc.cluster.local")
    assert values(found) == ["10.0.0.20"]
    assert found.question[0].name.to_text() == "Web.Shop.svc.cluster.local."
    assert found.flags & dns.flags.AA and found.flags & dns.flags.RA


async def test_negative_answers_carry_soa(server: DnsServer) -> None:
    """NXDOMAIN and NODATA name the zone's SOA, so resolvers may cache them briefly."""
    for name, kind, rcode in (
        ("none.shop.svc.cluster.local", "A", dns.rcode.NXDOMAIN),
        ("web.shop.svc.cluster.local", "AAAA", dns.rcode.NOERROR),
        ("www.example.com.shop.svc.cluster.local", "A", dns.rcode.NXDOMAIN),
    ):
        found = await ask(server, name, kind)
        assert found.rcode() == rcode and not found.answer
        assert found.authority[0].rdtype == dns.rdatatype.SOA


async def test_changes_are_seen(kube: FakeKube, server: DnsServer) -> None:
    """A new Service is answered at once, a deleted one no more."""
    kube.put(SERVICES, service("late", clusterIP="10.0.0.30", ports=[]))
    await asyncio.sleep(0.01)
    assert values(await ask(server, "late.shop.svc.cluster.local")) == ["10.0.0.30"]
    assert values(await ask(server, "30.0.0.10.in-addr.arpa", "PTR")) == ["late.shop.svc.cluster.local."]
    await kube.delete(SERVICES, "late", "shop")
    await asyncio.sleep(0.01)
    assert (await ask(server, "late.shop.svc.cluster.local")).rcode() == dns.rcode.NXDOMAIN


async def test_big_answers(server: DnsServer) -> None:
    """What does not fit a datagram is cut with TC; TCP has all of it."""
    small = await ask(server, "many.shop.svc.cluster.local")
    assert small.flags & dns.flags.TC and len(small.to_wire()) <= 512
    medium = await ask(server, "many.shop.svc.cluster.local", edns=4096)
    assert medium.flags & dns.flags.TC and len(values(medium)) > len(values(small))
    full = await ask(server, "many.shop.svc.cluster.local", tcp=True)
    assert not full.flags & dns.flags.TC and len(values(full)) == 400


async def test_forwarding(server: DnsServer) -> None:
    """Names of others are asked upstream; silence is SERVFAIL, not a hang; ExternalName brings its address."""
    assert values(await ask(server, "www.example.com")) == ["192.0.2.7"]
    assert (await ask(server, "none.example.com")).rcode() == dns.rcode.NXDOMAIN
    assert (await ask(server, "lost.example.com")).rcode() == dns.rcode.SERVFAIL
    assert values(await ask(server, "out.shop.svc.cluster.local")) == ["www.example.com.", "192.0.2.7"]


async def test_garbage_is_survived(server: DnsServer) -> None:
    """Random bytes, answers, two questions, other opcodes: no answer or an error, and the server goes on."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=("127.0.0.1", server.port))
    for size in (0, 1, 11, 12, 40, 600):
        transport.sendto(os.urandom(size))
    transport.sendto(struct.pack("!6H", 1, 0x8180, 1, 0, 0, 0) + b"\x01a\x00\x00\x01\x00\x01")
    transport.close()
    query = dns.message.make_query("web.shop.svc.cluster.local", "A", rdclass="CH")
    refused = await dns.asyncquery.udp(query, "127.0.0.1", port=server.port, timeout=3)
    assert refused.rcode() == dns.rcode.REFUSED
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"\xff\xff" + os.urandom(100))
    writer.close()
    assert reader is not None
    assert values(await ask(server, "web.shop.svc.cluster.local")) == ["10.0.0.20"]


async def test_health_over_http() -> None:
    """200 while healthy, 503 while not, 404 elsewhere."""
    healthy = [True]
    server = await serve_health("127.0.0.1", 0, "/ready", lambda: healthy[0])
    port = server.sockets[0].getsockname()[1]

    async def get(path: str) -> str:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        line = (await reader.readline()).decode()
        writer.close()
        return line.split()[1]

    assert await get("/ready") == "200"
    assert await get("/other") == "404"
    healthy[0] = False
    assert await get("/ready") == "503"
    server.close()


def test_manifests_name_the_service_address() -> None:
    """Five objects; the Service has the address given, the pods carry the label it selects."""
    kinds = {obj["kind"]: obj for obj in dns_manifests("10.0.0.10", "cluster.local")}
    assert list(kinds) == ["ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Deployment", "Service"]
    assert kinds["Service"]["spec"]["clusterIP"] == "10.0.0.10"
    labels = kinds["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert kinds["Service"]["spec"]["selector"].items() <= labels.items()
