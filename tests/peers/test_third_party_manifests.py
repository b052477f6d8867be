"""Manifests that others ship, as they ship them, applied with kubectl: stored and reconciled as on any cluster.

Their authors wrote them against upstream Kubernetes: large structural schemas, defaulting, RBAC, aggregation, printer
columns, operators that watch, patch status and set finalizers. Nothing of them is copied here.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from peerkit import install, unpack

pytestmark = pytest.mark.timeout(600)
KOPF, DASK, KR8S = "1.45.2", "2026.3.0", "0.20.15"


def until(found: Callable[[], Any], what: str, timeout_s: float = 30) -> Any:
    deadline = time.monotonic() + timeout_s
    while not (value := found()):
        assert time.monotonic() < deadline, f"{what}: not within {timeout_s} s"
        time.sleep(0.2)
    return value


def apply_all(kubectl: Any, *paths: Path) -> None:
    """As a user does: definitions and their objects in one go need a second try, on a real cluster too."""
    files = [part for path in paths for part in ("-f", str(path))]
    if kubectl("apply", *files, check=False).returncode != 0:
        kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=20s")
        kubectl("apply", *files)


@pytest.fixture(scope="module")
def kopf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source archive of kopf, unpacked."""
    return unpack("kopf", KOPF, tmp_path_factory.mktemp("kopf"), source=True)


def test_kopf_definitions_and_objects(kubectl: Any, kopf: Path) -> None:
    """Cluster-wide and namespaced definitions, and objects of both in one file."""
    apply_all(kubectl, kopf / "peering.yaml", kopf / "examples" / "crd.yaml", kopf / "examples" / "obj.yaml")
    assert kubectl.get("clusterkopfpeerings")["items"] and kubectl.get("kopfpeerings", "-n", "default")["items"]
    table = kubectl("get", "kexes").stdout.splitlines()
    assert table[0].split() == ["NAME", "DURATION", "CHILDREN", "MESSAGE"] and table[1].split()[1] == "1m"
    assert kubectl("diff", "-f", str(kopf / "examples" / "obj.yaml")).stdout == ""
    assert "unchanged" in kubectl("apply", "-f", str(kopf / "examples" / "obj.yaml")).stdout


def test_kopf_deployment_waits_for_nodes_with_its_rights(kubectl: Any, kopf: Path, tmp_path: Path) -> None:
    """The documented roles, with the namespace filled in as its authors say, and the operator's Deployment."""
    kubectl("apply", "-f", str(kopf / "examples" / "crd.yaml"))
    roles = tmp_path / "rbac.yaml"
    roles.write_text((kopf / "docs" / "deployment-rbac.yaml").read_text().replace('"{{NAMESPACE}}"', "default"))
    kubectl("apply", "-f", str(kopf / "docs" / "deployment-depl.yaml"))
    until(lambda: refusals(kubectl), "the ReplicaSet to report the missing account")
    time.sleep(2)
    assert len(refusals(kubectl)) <= 2, "repeats are counted in one event"
    wanted = r'Error creating: pods "kopfexample-operator-[a-z0-9-]+" is forbidden: .*"kopfexample-account" not found'
    assert re.match(wanted, refusals(kubectl)[0]["message"])
    kubectl("apply", "-f", str(roles))
    account = "system:serviceaccount:default:kopfexample-account"
    assert kubectl("auth", "can-i", "patch", "kopfexamples.kopf.dev", "--as", account).stdout.strip() == "yes"
    assert kubectl("auth", "can-i", "delete", "secrets", "--as", account, check=False).stdout.strip() == "no"

    def pod() -> Any:
        return kubectl.get("pods", "-l", "application=kopfexample-operator")["items"]

    (made,) = until(pod, "a pod of the Deployment")
    assert made["spec"]["serviceAccountName"] == "kopfexample-account"
    assert made["metadata"]["ownerReferences"][0]["kind"] == "ReplicaSet"
    kubectl("delete", "-f", str(kopf / "docs" / "deployment-depl.yaml"))
    until(lambda: not pod(), "the pod to go with its Deployment")


def refusals(kubectl: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = kubectl.get("events", "--field-selector", "reason=FailedCreate")["items"]
    return found


def test_dask_definitions_with_whole_pod_schemas(kubectl: Any, tmp_path: Path) -> None:
    """Definitions of 600 kB that hold the schema of a pod; good objects are kept, wrong ones refused by field."""
    root = unpack("dask-kubernetes", DASK, tmp_path / "dask") / "dask_kubernetes" / "operator"
    crds = root / "deployment" / "helm" / "dask-kubernetes-operator" / "crds"
    kubectl("apply", "-f", str(crds))
    names = [f"crd/{name}.kubernetes.dask.org" for name in ("daskclusters", "daskjobs", "daskworkergroups")]
    kubectl("wait", "--for=condition=Established", *names, "--timeout=20s")
    samples = sorted((root / "controller" / "tests" / "resources").glob("*.yaml"))
    assert len(samples) >= 4
    for sample in samples:
        kubectl("apply", "-f", str(sample))
        assert kubectl("diff", "-f", str(sample)).stdout == ""
    stored = kubectl.get("daskcluster", "simple")
    wanted = next(yaml.safe_load_all((root / "controller/tests/resources/simplecluster.yaml").read_text()))
    assert stored["spec"]["worker"]["spec"] == wanted["spec"]["worker"]["spec"]
    broken = tmp_path / "broken.yaml"
    wanted["metadata"]["name"] = "broken"
    wanted["spec"]["worker"]["replicas"] = "three"
    broken.write_text(yaml.safe_dump(wanted))
    refused = kubectl("apply", "--validate=false", "-f", str(broken), check=False)
    assert refused.returncode == 1 and "spec.worker.replicas" in refused.stderr and "integer" in refused.stderr
    assert "replicas" in kubectl("explain", "daskcluster.spec.worker").stdout
    for sample in samples:
        kubectl("delete", "-f", str(sample), "--ignore-not-found")


def test_kr8s_samples(kubectl: Any, tmp_path: Path) -> None:
    """What the client library kr8s tests itself with: config, secrets, rights, an Ingress, a pod with its Service."""
    folder = unpack("kr8s", KR8S, tmp_path / "kr8s") / "kr8s" / "tests" / "resources"
    plain = [folder / f"{name}.yaml" for name in ("configmap", "secret", "serviceaccount")]
    for path in [*plain, folder / "simple" / "nested" / "nginx_ingress.yaml"]:
        kubectl("apply", "-f", str(path))
        assert "unchanged" in kubectl("apply", "-f", str(path)).stdout
    kubectl("apply", "-f", str(folder / "simple" / "nginx_pod_service.yaml"))
    service = kubectl.get("service", "nginx-service")
    assert service["spec"]["clusterIP"] and service["spec"]["type"] == "ClusterIP"
    selected = until(
        lambda: kubectl.get("endpointslices", "-l", "kubernetes.io/service-name=nginx-service")["items"],
        "an EndpointSlice of the Service",
    )
    assert selected[0]["metadata"]["ownerReferences"][0]["name"] == "nginx-service"
    assert kubectl("auth", "can-i", "list", "pods", "--as", "system:serviceaccount:default:pytest").stdout == "yes\n"


HANDLER = """
import kopf

@kopf.on.create("kopfexamples")
def created(body, spec, **_):
    kopf.info(body, reason="Made", message="by the handler")
    return {"duration": spec.get("duration")}

@kopf.on.field("kopfexamples", field="spec.field")
def changed(new, **_):
    return {"field": new}

@kopf.on.delete("kopfexamples")
def deleted(**_):
    pass
"""
OBJECT = """
apiVersion: kopf.dev/v1
kind: KopfExample
metadata: {name: watched}
spec: {duration: 2m, field: first, items: [a]}
"""


def test_the_kopf_framework_as_a_controller(kubectl: Any, kopf: Path, tmp_path: Path) -> None:
    """Unmodified, as a process: peering, watch, status, finalizer, events; and it lives on when killed."""
    apply_all(kubectl, kopf / "peering.yaml", kopf / "examples" / "crd.yaml")
    programs = install("kopf", KOPF, tmp_path / "venv")
    (tmp_path / "handler.py").write_text(HANDLER)
    (tmp_path / "object.yaml").write_text(OBJECT)
    operator = Operator(programs / "kopf", tmp_path, kubectl)
    operator.start()
    try:
        kubectl("apply", "-f", str(tmp_path / "object.yaml"))
        until(lambda: status(kubectl).get("created") == {"duration": "2m"}, "the handler's answer in the status")
        watched = kubectl.get("kopfexample", "watched")
        assert watched["metadata"]["finalizers"] == ["kopf.zalando.org/KopfFinalizerMarker"]
        peers = until(lambda: kubectl.get("kopfpeering", "default").get("status"), "the operator among the peers")
        assert any(isinstance(peer, dict) and peer.get("priority") == 0 for peer in peers.values())
        operator.stop(signal.SIGKILL)
        kubectl("patch", "kopfexample", "watched", "--type=merge", "-p", '{"spec": {"field": "second"}}')
        kubectl("delete", "kopfexample", "watched", "--wait=false")
        assert kubectl.get("kopfexample", "watched")["metadata"]["deletionTimestamp"], "its finalizer holds it"
        operator.start(priority=10)  # over the killed one, which counts as alive for a minute
        gone = ("wait", "--for=delete", "kopfexample/watched", "--timeout=40s")
        kubectl(*gone)
        events = kubectl.get("events", "--field-selector", "involvedObject.name=watched")["items"]
        assert [(e["reason"], e["message"]) for e in events if e["type"] == "Normal"] == [("Made", "by the handler")]
    finally:
        operator.stop()


def status(kubectl: Any) -> dict[str, Any]:
    found: dict[str, Any] = kubectl.get("kopfexample", "watched").get("status", {})
    return found


class Operator:
    """`kopf run` as a process."""

    def __init__(self, program: Path, folder: Path, kubectl: Any) -> None:
        self._command = [str(program), "run", str(folder / "handler.py"), "-n", "default", "--peering", "default"]
        self._log, self._environment = folder / "operator.log", kubectl.environment
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, priority: int = 0) -> None:
        command = [*self._command, "--priority", str(priority)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, env=self._environment, stdout=log, stderr=log)

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self._process is not None:
            os.kill(self._process.pid, number)
            self._process.wait(20)
            self._process = None
