"""Pod Security Standards, enforced where a namespace asks for them (admission PodSecurity).

The problem: the label pod-security.kubernetes.io/enforce on a namespace forbids pods that could take over their
node, the label warn has them reported. The rules are those of the published standards, baseline and restricted.
"""

from __future__ import annotations

from collections.abc import Iterator

from podloom.kube.api.contract import Context, Object
from podloom.kube.api.kinds.base import forbidden
from podloom.kube.api.kinds.pod_defaults import containers

LABEL = "pod-security.kubernetes.io/"
_SAFE_CAPABILITIES = {
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
}
_SAFE_VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
_SAFE_SYSCTLS = {
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
}


def admit(pod: Object, ctx: Context) -> None:
    """403 for a pod below the level its namespace enforces, a warning below the level it warns of."""
    name = ctx.namespace or pod["metadata"].get("namespace", "")
    labels = ((ctx.reader.get("", "namespaces", "", name) or {}).get("metadata") or {}).get("labels") or {}
    spec = pod.get("spec") or {}
    enforced, warned = labels.get(f"{LABEL}enforce", ""), labels.get(f"{LABEL}warn", "")
    found = _violations(spec, enforced)
    if found:
        why = f'violates PodSecurity "{enforced}:latest": {", ".join(found)}'
        raise forbidden(ctx, "pods", pod["metadata"].get("name", ""), why)
    found = _violations(spec, warned)
    if found:
        ctx.warnings.append(f'would violate PodSecurity "{warned}:latest": {", ".join(found)}')


def _violations(spec: Object, level: str) -> list[str]:
    if level == "restricted":
        return [*_baseline(spec), *_restricted(spec)]
    return list(_baseline(spec)) if level == "baseline" else []


def _context(holder: Object) -> Object:
    return holder.get("securityContext") or {}


def _named(spec: Object, bad: list[str]) -> str:
    total = sum(1 for _ in containers(spec))
    quoted = ", ".join(f'"{name}"' for name in bad)
    return f"container {quoted}" if len(bad) == 1 or total == 1 else f"containers {quoted}"


def _baseline(spec: Object) -> Iterator[str]:
    hosts = [f"{key}=true" for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key)]
    if hosts:
        yield f"host namespaces ({', '.join(hosts)})"
    bad = [c.get("name", "") for c in containers(spec) if _context(c).get("privileged")]
    if bad:
        yield f"privileged ({_named(spec, bad)} must not set securityContext.privileged=true)"
    for container in containers(spec):
        added = set((_context(container).get("capabilities") or {}).get("add") or []) - _SAFE_CAPABILITIES
        if added:
            quoted = ", ".join(f'"{item}"' for item in sorted(added))
            yield (
                f'non-default capabilities (container "{container.get("name", "")}" must not include {quoted} in'
                " securityContext.capabilities.add)"
            )
    volumes = [v.get("name", "") for v in spec.get("volumes") or [] if v.get("hostPath") is not None]
    if volumes:
        quoted = ", ".join(f'"{name}"' for name in volumes)
        yield f"hostPath volumes (volume{'s' if len(volumes) > 1 else ''} {quoted})"
    ports = [
        (c.get("name", ""), str(p["hostPort"]))
        for c in containers(spec)
        for p in c.get("ports") or []
        if p.get("hostPort")
    ]
    if ports:
        names = list(dict.fromkeys(name for name, _ in ports))
        yield f"hostPort ({_named(spec, names)} uses hostPort {', '.join(port for _, port in ports)})"
    sysctls = [s.get("name", "") for s in _context(spec).get("sysctls") or []]
    unsafe = [name for name in sysctls if name not in _SAFE_SYSCTLS]
    if unsafe:
        yield f"forbidden sysctls ({', '.join(unsafe)})"
    if any((_context(h).get("seccompProfile") or {}).get("type") == "Unconfined" for h in (spec, *containers(spec))):
        yield 'seccompProfile (pod must not set securityContext.seccompProfile.type to "Unconfined")'


def _restricted(spec: Object) -> Iterator[str]:
    bad = [c.get("name", "") for c in containers(spec) if _context(c).get("allowPrivilegeEscalation") is not False]
    if bad:
        yield (
            f"allowPrivilegeEscalation != false ({_named(spec, bad)} must set"
            " securityContext.allowPrivilegeEscalation=false)"
        )
    bad = []
    for container in containers(spec):
        capabilities = _context(container).get("capabilities") or {}
        if "ALL" not in (capabilities.get("drop") or []):
            bad.append(container.get("name", ""))
    if bad:
        yield f'unrestricted capabilities ({_named(spec, bad)} must set securityContext.capabilities.drop=["ALL"])'
    for volume in spec.get("volumes") or []:
        kinds = {key for key, value in volume.items() if key != "name" and value is not None}
        if kinds - _SAFE_VOLUMES:
            kind = sorted(kinds - _SAFE_VOLUMES)[0]
            yield f'restricted volume types (volume "{volume.get("name", "")}" uses restricted volume type "{kind}")'
    whole = _context(spec).get("runAsNonRoot")
    bad = [c.get("name", "") for c in containers(spec) if not _context(c).get("runAsNonRoot", whole)]
    if bad:
        yield f"runAsNonRoot != true (pod or {_named(spec, bad)} must set securityContext.runAsNonRoot=true)"
    profile = (_context(spec).get("seccompProfile") or {}).get("type")
    good = ("RuntimeDefault", "Localhost")
    bad = [
        c.get("name", "")
        for c in containers(spec)
        if (_context(c).get("seccompProfile") or {}).get("type", profile) not in good
    ]
    if bad:
        yield (
            f"seccompProfile (pod or {_named(spec, bad)} must set securityContext.seccompProfile.type to"
            ' "RuntimeDefault" or "Localhost")'
        )
