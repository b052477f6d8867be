"""Cluster DNS answers, name by name (DNS-Based Service Discovery 1.1.0)."""

from __future__ import annotations

import pytest

from podloom.model.kube import Object
from podloom.plan.kube.dns import Answer, Record, answer


def service(name: str, **spec: object) -> Object:
    return {"metadata": {"name": name, "namespace": "shop"}, "spec": spec}


WEB = service(
    "web",
    clusterIP="10.0.0.20",
    clusterIPs=["10.0.0.20", "fd00::20"],
    ports=[{"name": "http", "port": 80, "protocol": "TCP"}, {"name": "dns", "port": 53, "protocol": "UDP"}],
)
DB = service("db", clusterIP="None", ports=[{"name": "sql", "port": 5432, "protocol": "TCP"}])
OUT = service("out", type="ExternalName", externalName="db.example.com")
EMPTY = service("empty", clusterIP="None", ports=[{"port": 1}])
DB_SLICE = {
    "metadata": {"name": "db-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": "db"}},
    "addressType": "IPv4",
    "ports": [{"name": "sql", "port": 5432, "protocol": "TCP"}],
    "endpoints": [
        {"addresses": ["10.1.0.5"], "hostname": "db-0", "conditions": {"ready": True}},
        {"addresses": ["10.1.0.6"], "conditions": {}},
        {"addresses": ["10.1.0.7"], "conditions": {"ready": False}},
    ],
}


class Cluster:
    def service(self, namespace: str, name: str) -> Object | None:
        found = {"web": WEB, "db": DB, "out": OUT, "empty": EMPTY}
        return found.get(name) if namespace == "shop" else None

    def slices(self, namespace: str, name: str) -> list[Object]:
        return [DB_SLICE] if (namespace, name) == ("shop", "db") else []

    def has_namespace(self, name: str) -> bool:
        return name in ("shop", "void")

    def services_at(self, ip: str) -> list[Object]:
        return [WEB] if ip in ("10.0.0.20", "fd00::20") else []

    def slices_at(self, ip: str) -> list[Object]:
        return [DB_SLICE] if ip in ("10.1.0.5", "10.1.0.6") else []


def ask(name: str, kind: str = "A") -> Answer:
    return answer(name, kind, "cluster.local", Cluster())


ADDRESSES = [
    ("web.shop.svc.cluster.local", "A", ["10.0.0.20"]),
    ("WEB.Shop.SVC.cluster.LOCAL", "A", ["10.0.0.20"]),
    ("web.shop.svc.cluster.local", "AAAA", ["fd00::20"]),
    ("db.shop.svc.cluster.local", "A", ["10.1.0.5", "10.1.0.6"]),
    ("db.shop.svc.cluster.local", "AAAA", []),
    ("db-0.db.shop.svc.cluster.local", "A", ["10.1.0.5"]),
    ("10-1-0-6.db.shop.svc.cluster.local", "A", ["10.1.0.6"]),
    ("10-1-2-3.shop.pod.cluster.local", "A", ["10.1.2.3"]),
    ("10-1-2-3.shop.pod.cluster.local", "AAAA", []),
    ("fd00--5.shop.pod.cluster.local", "AAAA", ["fd00::5"]),
    ("20.0.0.10.in-addr.arpa", "PTR", ["web.shop.svc.cluster.local"]),
    ("5.0.1.10.in-addr.arpa", "PTR", ["db-0.db.shop.svc.cluster.local"]),
    ("6.0.1.10.in-addr.arpa", "PTR", ["10-1-0-6.db.shop.svc.cluster.local"]),
    ("out.shop.svc.cluster.local", "CNAME", ["db.example.com"]),
    ("dns-version.cluster.local", "TXT", ["1.1.0"]),
    ("svc.cluster.local", "A", []),
    ("shop.svc.cluster.local", "A", []),
    ("void.svc.cluster.local", "A", []),
    ("cluster.local", "A", []),
]


@pytest.mark.parametrize(("name", "kind", "values"), ADDRESSES)
def test_names_that_exist(name: str, kind: str, values: list[str]) -> None:
    """A name that exists is answered, with no records (NODATA) when it has none of the type."""
    found = ask(name, kind)
    assert found.ours and found.exists
    assert [r.value for r in found.records] == values
    assert all(r.name == name for r in found.records)


@pytest.mark.parametrize(
    "name",
    [
        "nothing.shop.svc.cluster.local",
        "web.other.svc.cluster.local",
        "other.svc.cluster.local",
        "x.web.shop.svc.cluster.local",
        "10-1-0-7.db.shop.svc.cluster.local",
        "10-9-9-9.db.shop.svc.cluster.local",
        "_none._tcp.web.shop.svc.cluster.local",
        "empty.shop.svc.cluster.local",
        "not-an-address.shop.pod.cluster.local",
        "10-1-2-3.other.pod.cluster.local",
        "www.example.com.cluster.local",
        "www.example.com.shop.svc.cluster.local",
    ],
)
def test_names_that_do_not_exist(name: str) -> None:
    """Names under the domain that nothing has are NXDOMAIN, so search lists go on."""
    found = ask(name)
    assert found.ours and not found.exists and not found.records


@pytest.mark.parametrize("name", ["www.example.com", "local", "xcluster.local", "1.9.9.10.in-addr.arpa"])
def test_names_of_others(name: str) -> None:
    """Everything else is the upstream's."""
    assert not ask(name, "PTR" if "arpa" in name else "A").ours


def test_srv_of_a_service_points_at_it() -> None:
    """SRV of a named port: the Service's name with its address in the additional section."""
    found = ask("_http._tcp.web.shop.svc.cluster.local", "SRV")
    assert [r.value for r in found.records] == [(0, 100, 80, "web.shop.svc.cluster.local")]
    assert Record("web.shop.svc.cluster.local", "A", "10.0.0.20") in found.additional


def test_srv_of_a_headless_service_points_at_endpoints() -> None:
    """SRV of a headless Service's port: one record per ready endpoint."""
    found = ask("_sql._tcp.db.shop.svc.cluster.local", "SRV")
    own = "db.shop.svc.cluster.local"
    assert [r.value for r in found.records] == [(0, 50, 5432, f"db-0.{own}"), (0, 50, 5432, f"10-1-0-6.{own}")]
    assert [r.value for r in found.additional] == ["10.1.0.5", "10.1.0.6"]


def test_external_name_is_chased() -> None:
    """An address question for an ExternalName is the CNAME plus the target's own records."""
    found = ask("out.shop.svc.cluster.local", "A")
    assert found.chase == "db.example.com" and found.records[0].type == "CNAME"
