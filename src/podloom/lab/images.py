"""The lab's own images, made from what is installed on this machine.

The problem: a lab must work with no registry in reach, and still run real workloads. So its images are built from
the machine's packages: a base with busybox, the echo server, nginx, the cluster DNS. Files come with the
libraries that ldd names. An image is built again only when one of its source files changed.
"""

from __future__ import annotations

import compileall
import hashlib
import importlib.metadata
import io
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import podloom
from podloom.lab.imagestore import LAYER, Blob, ImageName, ImageStore
from podloom.lab.state import paths
from podloom.model.errors import Unsupported
from podloom.native import native_path

DNS_PACKAGES = ("__init__.py", "model", "plan", "render", "drivers", "kube/__init__.py", "kube/dns")
DNS_DISTRIBUTIONS = ("aiohttp", "dnspython", "orjson", "msgspec", "structlog", "uvloop", "click", "PyYAML")
STDLIB_LEFT_OUT = {"test", "idlelib", "tkinter", "ensurepip", "lib2to3", "turtledemo", "site-packages", "dist-packages"}
NGINX_CONF = """worker_processes 1;
error_log /dev/stderr warn;
pid /run/nginx.pid;
events { worker_connections 512; }
http {
  access_log /dev/stdout;
  default_type text/plain;
  types { text/html html; text/css css; application/javascript js; application/json json; image/png png; }
  server { listen 80 default_server; listen [::]:80 default_server; root /usr/share/nginx/html; index index.html; }
}
"""
WELCOME = """<!DOCTYPE html>
<html><head><title>Welcome to nginx!</title></head>
<body><h1>Welcome to nginx!</h1><p>Served by a pod of the lab.</p></body></html>
"""
PASSWD = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"
GROUP = "root:x:0:\nnogroup:x:65534:\nnobody:x:65534:\n"


@dataclass(frozen=True)
class Layer:
    """What a layer holds: files copied from this machine (source, target), texts, links, empty folders."""

    files: tuple[tuple[Path, str], ...] = ()
    texts: tuple[tuple[str, str], ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    folders: tuple[str, ...] = ()

    def key(self) -> str:
        """Changes when any source does."""
        sources = [(s, t) for s, t in self.files if s.suffix != ".pyc"]  # those follow from their sources
        stamps = [(str(s), t, s.stat().st_mtime_ns, s.stat().st_size) for s, t in sources]
        return hashlib.sha256(repr((stamps, self.texts, self.links, self.folders)).encode()).hexdigest()


@dataclass(frozen=True)
class Image:
    names: tuple[str, ...]
    layers: tuple[Layer, ...]
    entrypoint: tuple[str, ...]
    command: tuple[str, ...] = ()
    environment: tuple[str, ...] = ("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",)


def lab_images() -> list[Image]:
    """Every image the lab brings; raises Unsupported naming the missing package."""
    busybox = _busybox()
    echo = Layer(files=((native_path("echo"), "/echo"), (native_path("probe"), "/probe")))
    return [
        Image(("podloom.local/pause:1",), (Layer(files=((native_path("pause"), "/pause"),)),), ("/pause",)),
        Image(("podloom.local/echo:1", "podloom.local/echo:latest"), (busybox, echo), ("/echo",)),
        Image(("docker.io/library/busybox:latest", "podloom.local/busybox:1"), (busybox,), (), ("sh",)),
        Image(
            ("docker.io/library/nginx:latest", "podloom.local/nginx:1"),
            (busybox, _nginx()),
            ("/usr/sbin/nginx", "-c", "/etc/nginx/nginx.conf", "-g", "daemon off;"),
        ),
        Image(
            ("podloom.local/dns:1",),
            (busybox, _python(), _site_packages()),
            (str(Path(sys.executable).resolve()), "-m", "podloom.kube.dns"),
            environment=("PATH=/usr/bin:/bin", "PYTHONPATH=/app", "PYTHONDONTWRITEBYTECODE=1"),
        ),
    ]


def build_all(store: ImageStore) -> list[str]:
    """Build what is missing or out of date; returns the names that were built."""
    built: list[str] = []
    for image in lab_images():
        stamp = store.names.parent / "stamps" / image.names[0].replace("/", "_")
        key = hashlib.sha256(repr([layer.key() for layer in image.layers] + [image]).encode()).hexdigest()
        if stamp.exists() and stamp.read_text() == key and store.resolve(ImageName.parse(image.names[0])):
            continue
        _build(store, image)
        stamp.parent.mkdir(exist_ok=True)
        stamp.write_text(key)
        built += image.names
    return built


def load(archive: Path) -> list[str]:
    """Put the images of an archive where this user's lab's nodes pull from; returns their names."""
    return [str(name) for name in ImageStore(paths().images).load(archive)]


def _build(store: ImageStore, image: Image) -> Blob:
    blobs = [_pack(store, layer) for layer in image.layers]
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}
    machine = sysconfig.get_platform().rpartition("-")[2]
    config = {
        "architecture": architecture.get(machine, machine),
        "os": "linux",
        "config": {"Entrypoint": list(image.entrypoint), "Cmd": list(image.command), "Env": list(image.environment)},
        "rootfs": {"type": "layers", "diff_ids": [blob.digest for blob in blobs]},
    }
    names = [ImageName.parse(name) for name in image.names]
    return store.add_image(config, [(blob, LAYER) for blob in blobs], names)


def _pack(store: ImageStore, layer: Layer) -> Blob:
    """The layer as a tar; file times are kept, or Python would not trust its compiled files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for folder in sorted(_folders(layer)):
            tar.addfile(_member(folder, tarfile.DIRTYPE, 0o1777 if folder in {"tmp", "var/tmp"} else 0o755))
        for source, target in layer.files:
            member = _member(target, tarfile.REGTYPE, 0o755 if source.stat().st_mode & 0o111 else 0o644)
            member.size, member.mtime = source.stat().st_size, int(source.stat().st_mtime)
            with source.open("rb") as file:
                tar.addfile(member, file)
        for target, text in layer.texts:
            member = _member(target, tarfile.REGTYPE, 0o644)
            member.size = len(text.encode())
            tar.addfile(member, io.BytesIO(text.encode()))
        for target, link in layer.links:
            member = _member(target, tarfile.SYMTYPE, 0o777)
            member.linkname = link
            tar.addfile(member)
    return store.add_bytes(buffer.getvalue())


def _member(target: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(target.lstrip("/"))
    member.type, member.mode = kind, mode
    return member


def _folders(layer: Layer) -> set[str]:
    targets = [t for _, t in layer.files] + [t for t, _ in layer.texts] + [t for t, _ in layer.links]
    wanted = {folder.strip("/") for folder in layer.folders}
    for path in [Path(t.lstrip("/")) for t in targets] + [Path(f) / "x" for f in wanted]:
        wanted |= {str(parent) for parent in path.parents if str(parent) != "."}
    return wanted


def _program(name: str, package: str) -> Path:
    found = shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin")
    if not found:
        raise Unsupported(f"build the lab's images: {name}", "it is not installed", f"apt-get install {package}")
    return Path(found).resolve()


def _busybox() -> Layer:
    program = _program("busybox", "busybox-static")
    applets = subprocess.run([program, "--list"], capture_output=True, text=True, check=True).stdout.split()
    links = tuple((f"/bin/{applet}", "busybox") for applet in applets if applet != "busybox")
    texts = (("/etc/passwd", PASSWD), ("/etc/group", GROUP))
    return Layer(((program, "/bin/busybox"),), texts, links, ("/tmp", "/var/tmp", "/root", "/run", "/var/log"))


def _nginx() -> Layer:
    program = _program("nginx", "nginx-light")
    texts = (("/etc/nginx/nginx.conf", NGINX_CONF), ("/usr/share/nginx/html/index.html", WELCOME))
    # The distribution's build opens this file before it reads its configuration.
    links = (("/var/log/nginx/error.log", "/dev/stderr"),)
    folders = ("/var/lib/nginx", "/run")
    return Layer(((program, "/usr/sbin/nginx"), *libraries([program])), texts, links, folders)


def _python() -> Layer:
    """The interpreter that runs us and its standard library, at their own paths."""
    program = Path(sys.executable).resolve()
    stdlib = Path(sysconfig.get_path("stdlib"))
    files = [
        path
        for path in stdlib.rglob("*")
        if path.is_file() and not STDLIB_LEFT_OUT & set(path.relative_to(stdlib).parts) and path.suffix != ".a"
    ]
    copies = [(path, str(path)) for path in [program, *files]]
    return Layer((*copies, *libraries([program, *(f for f in files if f.suffix == ".so")])))


def _site_packages() -> Layer:
    """Our own package and the distributions the cluster DNS needs, under /app."""
    own = Path(podloom.__file__).parent
    parts = [own / part for part in DNS_PACKAGES]
    compileall.compile_dir(str(own), quiet=2)
    modules = [p for part in parts for p in ([part] if part.is_file() else part.rglob("*.py*"))]
    copies = [(p, f"/app/podloom/{p.relative_to(own)}") for p in modules]
    for distribution in _closure(DNS_DISTRIBUTIONS):
        for entry in importlib.metadata.distribution(distribution).files or ():
            source = Path(str(entry.locate()))
            if source.is_file() and source.suffix != ".pyi" and ".." not in entry.parts:
                copies.append((source, f"/app/{entry}"))
    extensions = [s for s, _ in copies if s.suffix == ".so"]
    return Layer((*copies, *libraries(extensions)))


def _closure(names: Iterable[str]) -> list[str]:
    """The distributions and all they require here, extras aside."""
    found: dict[str, None] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        try:
            requires = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # required only on another platform or interpreter
        if name.lower() in found:
            continue
        found[name.lower()] = None
        waiting += [re.split(r"[^A-Za-z0-9_.-]", r, maxsplit=1)[0] for r in requires if "extra ==" not in r]
    return list(found)


def libraries(programs: Sequence[Path]) -> tuple[tuple[Path, str], ...]:
    """The shared libraries that programs load, with the loader, each at the path it is looked up by."""
    if not programs:
        return ()
    listing = subprocess.run(["ldd", *map(str, programs)], capture_output=True, text=True, check=False).stdout
    found = re.findall(r"(?:=> )?(/\S+) \(0x", listing)
    targets = {path for path in found if Path(path).exists()}
    return tuple((Path(path).resolve(), path) for path in sorted(targets))
