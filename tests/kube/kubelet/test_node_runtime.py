"""Pods on a real node: containerd, a real API server and kubectl."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kube.kubelet.nodekit import NodeKit, pause_archive

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeKit]:
    kit = NodeKit(tmp_path_factory.mktemp("node"), f"tk{os.getpid() % 100000}")
    try:
        kit.up()
        kit.start_kubelet()
        kit.wait("node ready", lambda: _ready(kit))
        yield kit
    finally:
        kit.close()


def _ready(kit: NodeKit) -> bool:
    nodes = kit.get("nodes")["items"]
    return any(c["type"] == "Ready" and c["status"] == "True" for n in nodes for c in n["status"].get("conditions", []))


def pod(kit: NodeKit, name: str, *containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    full = [{"image": "busybox:1", "imagePullPolicy": "IfNotPresent", **one} for one in containers]
    body = {"nodeName": kit.name, "terminationGracePeriodSeconds": 1, "automountServiceAccountToken": False, **spec}
    for one in body.get("initContainers", ()):
        one.update({"image": "busybox:1", "imagePullPolicy": "IfNotPresent", **one})
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": full, **body}}


def sh(name: str, script: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "command": ["sh", "-c", script], **more}


def phase(kit: NodeKit, name: str) -> str:
    return str(kit.get("pod", name)["status"].get("phase"))


def condition(obj: dict[str, Any], kind: str) -> dict[str, Any]:
    return next((c for c in obj["status"].get("conditions", []) if c["type"] == kind), {})


def wait_ready(kit: NodeKit, name: str) -> dict[str, Any]:
    def check() -> dict[str, Any] | None:
        obj: dict[str, Any] = kit.get("pod", name)
        return obj if condition(obj, "Ready").get("status") == "True" else None

    return kit.wait(f"{name} ready", check)  # type: ignore[no-any-return]


def wait_phase(kit: NodeKit, name: str, wanted: str) -> dict[str, Any]:
    kit.wait(f"{name} {wanted}", lambda: phase(kit, name) == wanted)
    return kit.get("pod", name)  # type: ignore[no-any-return]


def events(kit: NodeKit, name: str) -> list[tuple[str, str]]:
    items = kit.get("events")["items"]
    return [(e["reason"], e["message"]) for e in items if e["involvedObject"]["name"] == name]


def test_a_pod_runs_and_leaves_nothing(node: NodeKit) -> None:
    """A pod becomes Ready with an address, logs, and is gone from runtime, disk and network after its delete."""
    node.apply(pod(node, "plain", sh("c", "echo hello; exec sleep 1000")))
    obj = wait_ready(node, "plain")
    status, uid = obj["status"], obj["metadata"]["uid"]
    assert status["podIP"].startswith("10.88.0.") and status["hostIP"] == "10.99.0.1"
    assert status["containerStatuses"][0]["state"]["running"]["startedAt"]
    assert node.kubectl("logs", "plain").stdout == "hello\n"
    assert [r for r, _ in events(node, "plain")][:3] == ["Pulled", "Created", "Started"]
    node.kubectl("delete", "pod", "plain")
    listed = node.inside(["ctr", "-n", "k8s.io", "containers", "ls"]).stdout.decode()
    assert node.kubectl("get", "pod", "plain", check=False).returncode != 0

    def clean() -> bool:
        left = node.inside(["sh", "-c", "ls /var/lib/kubelet/pods /var/log/pods /var/lib/cni/networks/test"]).stdout
        return uid not in left.decode() and status["podIP"].encode() not in left

    node.wait("nothing left", clean)
    assert listed is not None


def test_exec_and_attach_streams(node: NodeKit) -> None:
    """Exit codes, both outputs, half-closed input, large output, terminals and attach, by websocket and by SPDY."""
    node.apply(pod(node, "ex", sh("c", "while read x; do echo got $x; done; exec sleep 1000", stdin=True)))
    wait_ready(node, "ex")
    for websockets in ("true", "false"):
        env = {**os.environ, "KUBECTL_REMOTE_COMMAND_WEBSOCKETS": websockets}
        done = node.kubectl("exec", "ex", "--", "sh", "-c", "echo o; echo e >&2; exit 7", check=False, env=env)
        assert (done.returncode, done.stdout, done.stderr.splitlines()[0]) == (7, "o\n", "e")
        assert node.kubectl("exec", "-i", "ex", "--", "cat", input="in\nput", env=env).stdout == "in\nput"
        big = node.kubectl("exec", "ex", "--", "dd", "if=/dev/zero", "bs=65536", "count=40", env=env, text=False)
        assert len(big.stdout) == 40 * 65536
        attach = f"(echo a; sleep 1) | kubectl --kubeconfig {node.config} attach -i ex"
        attached = subprocess.run(["sh", "-c", attach], check=False, capture_output=True, env=env, timeout=20)
        assert b"got a" in attached.stdout
        command = (
            f"stty rows 33 cols 77; kubectl --kubeconfig {node.config} exec -it ex -- sh -c 'sleep 0.5; stty size'"
        )
        tty = subprocess.run(
            ["script", "-qc", command, "/dev/null"], check=False, capture_output=True, text=True, env=env, timeout=20
        )
        assert "33 77" in tty.stdout
    node.kubectl("delete", "pod", "ex")


def test_port_forward(node: NodeKit) -> None:
    """port-forward reaches a server on the pod's loopback, in both protocols."""
    node.apply(pod(node, "pf", sh("c", "mkdir /w; echo page > /w/index.html; exec httpd -f -p 127.0.0.1:8080 -h /w")))
    wait_ready(node, "pf")
    for websockets in ("true", "false"):
        env = {**os.environ, "KUBECTL_PORT_FORWARD_WEBSOCKETS": websockets}
        command = ["kubectl", "--kubeconfig", str(node.config), "port-forward", "pod/pf", ":8080"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as forward:
            try:
                assert forward.stdout is not None
                port = forward.stdout.readline().split(":")[1].split()[0]
                for _ in range(3):
                    curl = ["curl", "-s", "--max-time", "10", f"http://127.0.0.1:{port}/"]
                    got = subprocess.run(curl, check=True, capture_output=True)
                    assert got.stdout == b"page\n"
            finally:
                forward.terminate()
    node.kubectl("delete", "pod", "pf")


def test_logs_options(node: NodeKit) -> None:
    """tail, timestamps, limit, previous and follow to the container's end."""
    node.apply(pod(node, "lg", sh("c", "for i in 1 2 3 4 5; do echo line$i; done; sleep 1; echo last; exit 1")))
    node.wait("second start", lambda: _restarts(node, "lg") >= 1)
    assert node.kubectl("logs", "lg", "--previous", "--tail=2").stdout == "line5\nlast\n"
    assert node.kubectl("logs", "lg", "--previous", "--limit-bytes=7").stdout == "line1\nl"
    stamped = node.kubectl("logs", "lg", "--previous", "--timestamps", "--tail=1").stdout
    assert stamped.split()[1] == "last" and stamped.startswith("20")
    node.kubectl("delete", "pod", "lg")
    node.apply(pod(node, "lf", sh("c", "for i in 1 2 3; do echo $i; sleep 0.3; done"), restartPolicy="Never"))
    node.wait("started", lambda: phase(node, "lf") != "Pending")
    assert node.kubectl("logs", "-f", "lf", timeout=15).stdout == "1\n2\n3\n"
    node.kubectl("delete", "pod", "lf")


def _restarts(kit: NodeKit, name: str) -> int:
    return sum(c["restartCount"] for c in kit.get("pod", name)["status"].get("containerStatuses", []))


def test_crash_loop(node: NodeKit) -> None:
    """A crashing container restarts at once, then waits in CrashLoopBackOff with its last state shown."""
    node.apply(pod(node, "crash", sh("c", "echo boom > /dev/termination-log; exit 3")))

    def waits() -> dict[str, Any] | None:
        shown = node.get("pod", "crash")["status"].get("containerStatuses", [{}])[0]
        return shown if shown.get("state", {}).get("waiting", {}).get("reason") == "CrashLoopBackOff" else None

    shown = node.wait("CrashLoopBackOff", waits)
    assert shown["restartCount"] == 1
    assert shown["state"]["waiting"]["message"].startswith(
        "back-off 10s restarting failed container=c pod=crash_default("
    )
    last = shown["lastState"]["terminated"]
    assert (last["exitCode"], last["reason"], last["message"]) == (3, "Error", "boom\n")
    assert phase(node, "crash") == "Running"
    node.wait("back-off event", lambda: any(r == "BackOff" for r, _ in events(node, "crash")))
    node.kubectl("delete", "pod", "crash")


def test_ends(node: NodeKit) -> None:
    """restartPolicy Never and OnFailure end as Succeeded or Failed and free their network."""
    node.apply(
        pod(node, "good", sh("c", "exit 0"), restartPolicy="Never"),
        pod(node, "bad", sh("c", "exit 2"), restartPolicy="Never"),
        pod(node, "again", sh("c", "test -f /d/x || { touch /d/x; exit 1; }", volumeMounts=[_at("d", "/d")]),
            restartPolicy="OnFailure", volumes=[{"name": "d", "emptyDir": {}}]),
    )  # fmt: skip
    good = wait_phase(node, "good", "Succeeded")
    assert condition(good, "Ready")["reason"] == "PodCompleted"
    assert good["status"]["containerStatuses"][0]["state"]["terminated"]["reason"] == "Completed"
    wait_phase(node, "bad", "Failed")
    again = wait_phase(node, "again", "Succeeded")
    assert again["status"]["containerStatuses"][0]["restartCount"] == 1

    def freed() -> bool:
        left = node.inside(["ls", "/var/lib/cni/networks/test"]).stdout.decode()
        return good["status"]["podIP"] not in left.split()

    node.wait("address freed", freed)
    node.kubectl("delete", "pod", "good", "bad", "again")


def _at(volume: str, path: str, **more: Any) -> dict[str, Any]:
    return {"name": volume, "mountPath": path, **more}


def test_init_containers_and_sidecars(node: NodeKit) -> None:
    """Init containers run one after the other; a sidecar runs beside the main one and stops after it."""
    mounts, loop = [_at("d", "/d")], "trap 'exit 0' TERM; while :; do sleep 0.1; done"
    init = [
        sh("one", "sleep 0.3; echo one >> /d/log", volumeMounts=mounts),
        sh("side", f"echo side >> /d/log; {loop}", volumeMounts=mounts, restartPolicy="Always"),
        sh("two", "echo two >> /d/log", volumeMounts=mounts),
    ]  # fmt: skip
    main = sh("main", "cat /d/log; exec sleep 1000", volumeMounts=mounts)
    node.apply(pod(node, "init", main, initContainers=init, volumes=[{"name": "d", "emptyDir": {"medium": "Memory"}}]))
    obj = wait_ready(node, "init")
    assert node.kubectl("logs", "init", "-c", "main").stdout.splitlines()[0] == "one"
    assert node.kubectl("logs", "init", "-c", "main").stdout.splitlines()[-1] == "two"
    states = {s["name"]: s for s in obj["status"]["initContainerStatuses"]}
    assert states["one"]["state"]["terminated"]["reason"] == "Completed"
    assert states["side"]["started"] and "running" in states["side"]["state"]
    node.kubectl("delete", "pod", "init")
    node.apply(pod(node, "initbad", sh("c", "true"), initContainers=[sh("i", "exit 1")], restartPolicy="Never"))
    failed = wait_phase(node, "initbad", "Failed")
    assert condition(failed, "Initialized")["status"] == "False"
    node.kubectl("delete", "pod", "initbad")


def test_environment_and_volumes(node: NodeKit) -> None:
    """Every source of variables and files; a changed ConfigMap reaches the pod's files without a restart."""
    meta = {"name": "cfg"}
    node.kubectl("create", "configmap", "cfg", "--from-literal=a=1", "--from-literal=B=2")
    node.kubectl("create", "secret", "generic", "sec", "--from-literal=key=hidden")
    env = [
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "A", "valueFrom": {"configMapKeyRef": {**meta, "key": "a"}}},
        {"name": "S", "valueFrom": {"secretKeyRef": {"name": "sec", "key": "key"}}},
        {"name": "MIX", "value": "$(A)-$(B)-$(NOPE)-$$(A)"},
        {"name": "LIMIT", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
    ]
    labels = {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}
    volumes = [
        {"name": "cm", "configMap": meta},
        {"name": "sec", "secret": {"secretName": "sec", "defaultMode": 0o400}},
        {"name": "all", "projected": {"sources": [
            {"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}},
            {"configMap": {**meta, "items": [{"key": "a", "path": "deep/a"}]}},
            {"downwardAPI": {"items": [labels]}},
        ]}},
        {"name": "host", "hostPath": {"path": "/etc/kubernetes", "type": "Directory"}},
    ]  # fmt: skip
    mounts = [
        _at("cm", "/cm"), _at("sec", "/sec"), _at("all", "/all"), _at("host", "/host", readOnly=True),
        _at("cm", "/one/a", subPath="a"),
    ]  # fmt: skip
    main = sh("c", "exec sleep 1000", env=env, envFrom=[{"configMapRef": meta, "prefix": "P_"}, {"configMapRef": meta}],
              volumeMounts=mounts, resources={"limits": {"memory": "64Mi"}})  # fmt: skip
    body = pod(node, "vols", main, volumes=volumes)
    body["metadata"]["labels"] = {"app": "x", "tier": "y"}
    node.apply(body)
    obj = wait_ready(node, "vols")
    got = dict(line.split("=", 1) for line in node.kubectl("exec", "vols", "--", "env").stdout.splitlines())
    assert (got["IP"], got["A"], got["S"], got["P_a"], got["B"]) == (obj["status"]["podIP"], "1", "hidden", "1", "2")
    assert (got["MIX"], got["LIMIT"]) == ("1-2-$(NOPE)-$(A)", "64")
    files = "cat /cm/a /sec/key /all/deep/a /one/a; echo; cat /all/labels"
    script = f"{files}; ls /host; stat -Lc %a /sec/key; wc -c < /all/token"
    text = node.kubectl("exec", "vols", "--", "sh", "-c", script).stdout
    assert text.startswith("1hidden11\n") and 'app="x"\ntier="y"' in text and "ca.crt" in text and "\n400\n" in text
    assert int(text.splitlines()[-1]) > 300
    node.kubectl("delete", "pod", "vols")
    node.apply(
        pod(
            node,
            "nocfg",
            sh("c", "true", env=[{"name": "X", "valueFrom": {"configMapKeyRef": {"name": "no", "key": "k"}}}]),
        )
    )

    def config_error() -> str:
        shown = node.get("pod", "nocfg")["status"].get("containerStatuses", [{}])[0].get("state", {}).get("waiting", {})
        return str(shown.get("message", "")) if shown.get("reason") == "CreateContainerConfigError" else ""

    assert node.wait("config error", config_error) == 'configmap "no" not found'
    node.kubectl("create", "configmap", "no", "--from-literal=k=v")
    node.wait("runs once mended", lambda: phase(node, "nocfg") == "Running" or _restarts(node, "nocfg"))
    node.kubectl("delete", "pod", "nocfg")


def test_image_problems(node: NodeKit) -> None:
    """ErrImageNeverPull, ErrImagePull then ImagePullBackOff, InvalidImageName."""
    node.apply(
        pod(node, "never", {"name": "c", "image": "nope:1", "imagePullPolicy": "Never"}),
        pod(node, "pull", {"name": "c", "image": "127.0.0.1:1/nope:1"}),
        pod(node, "name", {"name": "c", "image": "Bad::Name"}),
    )

    def reason(name: str) -> str:
        shown = node.get("pod", name)["status"].get("containerStatuses", [{}])[0]
        return str(shown.get("state", {}).get("waiting", {}).get("reason", ""))

    node.wait("never", lambda: reason("never") == "ErrImageNeverPull")
    node.wait("name", lambda: reason("name") == "InvalidImageName")
    node.wait("pull", lambda: reason("pull") == "ErrImagePull")
    node.wait("backoff", lambda: reason("pull") == "ImagePullBackOff")
    node.kubectl("delete", "pod", "never", "pull", "name")


def test_probes(node: NodeKit) -> None:
    """Readiness follows its probe both ways; a failed liveness probe restarts; a startup probe holds back."""
    ready = {"exec": {"command": ["test", "-f", "/tmp/ready"]}, "periodSeconds": 1, "failureThreshold": 1}
    live = {"httpGet": {"path": "/", "port": "web"}, "periodSeconds": 1, "failureThreshold": 2}
    start = {"tcpSocket": {"port": 8080}, "periodSeconds": 1, "failureThreshold": 30}
    script = "sleep 1; mkdir -p /w; echo x > /w/index.html; exec httpd -f -p 8080 -h /w"
    main = sh("c", script, ports=[{"name": "web", "containerPort": 8080}], readinessProbe=ready, livenessProbe=live,
              startupProbe=start)  # fmt: skip
    node.apply(pod(node, "probes", main))
    node.wait("started", lambda: node.get("pod", "probes")["status"].get("containerStatuses", [{}])[0].get("started"))
    shown = node.get("pod", "probes")
    assert condition(shown, "Ready")["reason"] == "ContainersNotReady" and _restarts(node, "probes") == 0
    node.kubectl("exec", "probes", "--", "touch", "/tmp/ready")
    wait_ready(node, "probes")
    node.kubectl("exec", "probes", "--", "rm", "/tmp/ready")
    node.wait("unready", lambda: condition(node.get("pod", "probes"), "Ready")["status"] == "False")
    node.kubectl("exec", "probes", "--", "rm", "-r", "/w")
    node.wait("restarted", lambda: _restarts(node, "probes") == 1)
    found = events(node, "probes")
    assert any(
        r == "Unhealthy" and "Liveness probe failed: HTTP probe failed with statuscode: 404" in m for r, m in found
    )
    assert any(r == "Killing" and m == "Container c failed liveness probe, will be restarted" for r, m in found)
    node.kubectl("delete", "pod", "probes")


def test_hooks_and_grace(node: NodeKit) -> None:
    """postStart runs before ready; preStop and the stop signal come before the end, within the grace period."""
    hooks = {
        "postStart": {"exec": {"command": ["sh", "-c", "echo started > /d/post"]}},
        "preStop": {"exec": {"command": ["sh", "-c", "echo stopping >> /d/log"]}},
    }
    script = "trap 'echo term >> /d/log; exit 0' TERM; while :; do sleep 0.1; done"
    folder = node.host.folder("podloom") / "hooks"
    volume = {"name": "d", "hostPath": {"path": "/var/lib/podloom/hooks", "type": "DirectoryOrCreate"}}
    main = sh("c", script, lifecycle=hooks, volumeMounts=[_at("d", "/d")])
    node.apply(pod(node, "hooks", main, volumes=[volume], terminationGracePeriodSeconds=20))
    wait_ready(node, "hooks")
    assert (folder / "post").read_text() == "started\n"
    began = time.monotonic()
    node.kubectl("delete", "pod", "hooks")
    assert time.monotonic() - began < 10
    assert (folder / "log").read_text() == "stopping\nterm\n"


def test_force_delete_hurries(node: NodeKit) -> None:
    """A second delete with a shorter grace period ends a pod that ignores its stop signal."""
    node.apply(
        pod(node, "deaf", sh("c", "trap '' TERM; while :; do sleep 0.2; done"), terminationGracePeriodSeconds=60)
    )
    wait_ready(node, "deaf")
    node.kubectl("delete", "pod", "deaf", "--wait=false")
    node.wait("terminating", lambda: node.get("pod", "deaf")["metadata"].get("deletionTimestamp"))
    began = time.monotonic()
    node.kubectl("delete", "pod", "deaf", "--grace-period=1")
    assert time.monotonic() - began < 10


def test_restart_of_the_kubelet_keeps_containers(node: NodeKit) -> None:
    """kill -9 of the kubelet restarts no container; deletes made meanwhile are carried out."""
    node.apply(pod(node, "keep", sh("c", "exec sleep 1000")), pod(node, "lose", sh("c", "exec sleep 1000")))
    before = wait_ready(node, "keep")["status"]["containerStatuses"][0]["containerID"]
    lost = wait_ready(node, "lose")
    node.kill("kubelet")
    node.kubectl("delete", "pod", "lose", "--force", "--grace-period=0")
    node.start_kubelet()
    uid = lost["metadata"]["uid"]
    node.wait("orphan removed", lambda: uid not in node.inside(["ls", "/var/lib/kubelet/pods"]).stdout.decode())
    after = wait_ready(node, "keep")["status"]["containerStatuses"][0]
    assert (after["containerID"], after["restartCount"]) == (before, 0)
    node.kubectl("delete", "pod", "keep")


def test_exit_while_the_kubelet_is_away(node: NodeKit) -> None:
    """What ended while nobody looked is restarted when the kubelet is back."""
    node.apply(pod(node, "away", sh("c", "exec sleep 1000")))
    wait_ready(node, "away")
    node.kill("kubelet")
    ids = node.inside(["sh", "-c", "ctr -n k8s.io tasks ls | grep -v PID"]).stdout.decode().split("\n")
    shown = node.get("pod", "away")["status"]["containerStatuses"][0]["containerID"].removeprefix("containerd://")
    assert any(shown in line for line in ids)
    node.inside(["ctr", "-n", "k8s.io", "tasks", "kill", "-s", "SIGKILL", shown])
    node.start_kubelet()
    node.wait("restarted", lambda: _restarts(node, "away") == 1)
    node.kubectl("delete", "pod", "away")


def test_sandbox_lost(node: NodeKit) -> None:
    """A pod whose sandbox dies gets a new one with a new address."""
    node.apply(pod(node, "sandbox", sh("c", "exec sleep 1000")))
    obj = wait_ready(node, "sandbox")
    listing = node.inside(["ctr", "-n", "k8s.io", "containers", "ls"]).stdout.decode().splitlines()
    before = {line.split()[0] for line in listing if "pause" in line}
    for one in before:
        node.inside(["ctr", "-n", "k8s.io", "tasks", "kill", "-s", "SIGKILL", one])

    def again() -> bool:
        now = node.get("pod", "sandbox")
        return _restarts(node, "sandbox") == 1 and condition(now, "Ready").get("status") == "True"

    node.wait("new sandbox", again)
    assert any(r == "SandboxChanged" for r, _ in events(node, "sandbox"))
    assert obj["metadata"]["uid"] == node.get("pod", "sandbox")["metadata"]["uid"]
    node.kubectl("delete", "pod", "sandbox")


def test_network_not_ready(node: NodeKit) -> None:
    """Without a CNI configuration the node says so and pods wait; hostNetwork pods run; it heals by itself."""
    folder = node.host.folder("etc-cni") / "net.d"
    (folder / "10-test.conflist").rename(folder / "off")
    node.wait("not ready", lambda: not _ready(node))
    message = condition(node.get("nodes")["items"][0], "Ready")["message"]
    assert message.startswith("container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady")
    node.apply(
        pod(node, "waits", sh("c", "exec sleep 1000")),
        pod(node, "hostnet", sh("c", "exec sleep 1000"), hostNetwork=True),
    )
    host = wait_ready(node, "hostnet")
    assert host["status"]["podIP"] == "10.99.0.1"
    assert phase(node, "waits") == "Pending"
    (folder / "off").rename(folder / "10-test.conflist")
    wait_ready(node, "waits")
    node.kubectl("delete", "pod", "waits", "hostnet")


def test_containerd_restart(node: NodeKit) -> None:
    """A restart of containerd neither stops pods nor blinds the kubelet."""
    node.apply(pod(node, "survivor", sh("c", "exec sleep 1000")))
    before = wait_ready(node, "survivor")["status"]["containerStatuses"][0]["containerID"]
    node.kill("containerd")
    node.start_containerd()
    node.apply(pod(node, "after", sh("c", "exec sleep 1000")))
    wait_ready(node, "after")
    node.kubectl("exec", "after", "--", "kill", "1", check=False)
    after = node.get("pod", "survivor")["status"]["containerStatuses"][0]
    assert (after["containerID"], after["restartCount"]) == (before, 0)
    node.kubectl("delete", "pod", "survivor", "after")


def test_many_pods_at_once(node: NodeKit) -> None:
    """Twenty pods become ready together and leave together."""
    names = [f"many{i}" for i in range(20)]
    node.apply(*(pod(node, name, sh("c", "exec sleep 1000")) for name in names))

    def ready() -> bool:
        items = [one for one in node.get("pods")["items"] if one["metadata"]["name"] in names]
        return len(items) == 20 and all(condition(one, "Ready").get("status") == "True" for one in items)

    node.wait("all ready", ready, 60)
    ips = {one["status"]["podIP"] for one in node.get("pods")["items"]}
    assert len(ips) >= 20
    node.kubectl("delete", "pod", *names, timeout=120)
    node.wait("disk clean", lambda: node.inside(["ls", "/var/lib/kubelet/pods"]).stdout.strip() == b"", 30)


def test_helpers_are_real() -> None:
    """The pause image carries the package's static program."""
    assert len(pause_archive()) > 10_000 and Path(shutil.which("containerd") or "/").exists()
