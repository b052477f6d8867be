"""Neutralises what may differ between two runs, and translates recorded values into this run's.

The problem: recorded answers hold uids, revisions, times, allocated addresses and made-up names. They cannot be
compared, but later requests use them. So corresponding values are learned by walking a recorded and a received
answer side by side; requests are translated with what was learned, and both answers are reduced to what must be
equal. Revisions stay checked: two recorded revisions of one object that are equal must be equal here too.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import re
from dataclasses import dataclass, field
from typing import Any

TIMES = {
    "creationTimestamp", "deletionTimestamp", "time", "lastTransitionTime", "lastUpdateTime", "lastProbeTime",
    "lastHeartbeatTime", "expirationTimestamp", "firstTimestamp", "lastTimestamp",
}  # fmt: skip
TOPICS = ("crud", "err", "patch", "patch2", "lw", "crd", "svc", "ds", "ds8", "nsdel")  # namespaces of the recordings
CONTROLLERS = ("podloom-controllers", "kube-controller-manager", "kube-scheduler")  # one process here
_UID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_AGE = re.compile(r"(\d+[smhdy])+")
_SUFFIX = re.compile(r"-[bcdfghjklmnpqrstvwxz2456789]{5}\b")
_HASH = re.compile(r"-(?:[0-9a-f]{8,10}|[bcdfghjklmnpqrstvwxz2456789]{8,10})(?=-|$|\b)")
_EVENT = re.compile(r"\.([0-9a-f]{16}|[bcdfghjklmnpqrstvwxz2456789]{16})$")
_TOKEN = re.compile(r"eyJ2IjoibWV0YS5rOHMuaW8[A-Za-z0-9_-]*")
_TOO_LARGE = re.compile(r"(Too large resource version: \d+, current: )\d+")
_TOO_OLD = re.compile(r"(too old resource version: \d+ )\(\d+\)")
_OPENSHIFT = "openshift-service-ca.crt"
_PRINTED = re.compile(r"ResourceVersion in record \(\d+\)")
_RV_TEXT = re.compile(r'\\?"resourceVersion\\?":\\?"\d+\\?"')
_ADDRESS = re.compile(r"\b(?:10\.96\.\d+\.\d+|fd00:96::[0-9a-f:]*)")
_STAMP = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def token_parts(token: str) -> tuple[int, str]:
    data = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    return int(data["rv"]), str(data["start"])


def make_token(rv: int, start: str) -> str:
    text = json.dumps({"v": "meta.k8s.io/v1", "rv": rv, "start": start}, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


@dataclass
class Learned:
    """Recorded value -> this run's value."""

    texts: dict[str, str] = field(default_factory=dict)  # uids, names, addresses
    ports: dict[int, int] = field(default_factory=dict)
    revisions: dict[int, int] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)  # placeholders -> real tokens
    of_object: dict[tuple[str, str], str] = field(default_factory=dict)

    def learn(self, recorded: Any, received: Any, key: str = "") -> None:
        """Walk both answers and note corresponding volatile values."""
        if isinstance(recorded, dict) and isinstance(received, dict):
            for k in recorded.keys() & received.keys():
                self.learn(recorded[k], received[k], k)
        elif isinstance(recorded, list) and isinstance(received, list):
            if len(recorded) == len(received):
                for a, b in zip(recorded, received, strict=True):
                    self.learn(a, b, key)
        elif isinstance(recorded, str) and isinstance(received, str) and recorded != received:
            self._learn_text(recorded, received, key)
        elif isinstance(recorded, int) and isinstance(received, int) and key in ("nodePort", "healthCheckNodePort"):
            self.ports[recorded] = received
        if key == "resourceVersion" and recorded == received and str(recorded).isdigit():
            self.revisions[int(recorded)] = int(recorded)

    def _learn_text(self, recorded: str, received: str, key: str) -> None:
        if key == "resourceVersion":
            if recorded.isdigit() and received.isdigit():
                self.revisions[int(recorded)] = int(received)
        elif _UID.fullmatch(recorded) or key in ("name", "clusterIP", "clusterIPs", "generateName"):
            self.texts[recorded] = received
        elif key == "continue" and recorded and received:
            self.texts[recorded] = received
            self.revisions[token_parts(recorded)[0]] = token_parts(received)[0]
        elif key == "token":
            self.secrets.setdefault(recorded, received)

    def revision(self, recorded: int) -> int:
        """This run's revision for a recorded one: learned, or that of the nearest earlier learned one."""
        if recorded in self.revisions:
            return self.revisions[recorded]
        earlier = [r for r in self.revisions if r <= recorded]
        return self.revisions[max(earlier)] if earlier else recorded

    def body(self, value: Any, key: str = "") -> Any:
        """A recorded request body in this run's values."""
        if isinstance(value, dict):
            return {k: self.body(v, k) for k, v in value.items()}
        if isinstance(value, list):
            return [self.body(v, key) for v in value]
        if isinstance(value, str):
            if key == "resourceVersion" and value.isdigit() and int(value) > 10:
                return str(self.revision(int(value)))
            if key == "token" and value.startswith("PLACEHOLDER"):
                return self.secrets.get(value, next(iter(self.secrets.values()), value))
            return self.texts.get(value, value) if _is_volatile(value, key) else value
        if isinstance(value, int) and key == "nodePort":
            return self.ports.get(value, value)
        return value

    def path(self, path: str) -> str:
        """A recorded request path in this run's values."""

        def swap_rv(match: re.Match[str]) -> str:
            number = int(match.group(2))
            return match.group(1) + (str(self.revision(number)) if 10 < number < 10_000_000 else match.group(2))

        def swap_token(match: re.Match[str]) -> str:
            rv, start = token_parts(match.group(0))
            return make_token(self.revision(rv) if rv > 10 else rv, start)

        path = re.sub(r"([?&]resourceVersion=)(\d+)", swap_rv, path)
        path = _TOKEN.sub(swap_token, path)
        parts = path.split("?")
        parts[0] = "/".join(self.texts.get(p, p) for p in parts[0].split("/"))
        return "?".join(parts)


def _is_volatile(value: str, key: str) -> bool:
    return bool(_UID.fullmatch(value)) or key in ("clusterIP", "clusterIPs", "uid", "name")


@dataclass
class Neutral:
    """Reduces an answer. `asked` holds addresses and ports that requests named: those are compared."""

    asked: set[str]
    progress: bool = True  # compare how far controllers have come with a workload
    own: str = ""  # the namespace of the topic; others' objects in cluster-wide lists are left out
    service_ranges: tuple[str, ...] = ("10.96.0.0/16", "fd00:96::/112")

    def __post_init__(self) -> None:
        self._ranges = [ipaddress.ip_network(r) for r in self.service_ranges]

    def answer(self, value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return self._mapping(value)
        if isinstance(value, list):
            return self._sequence(value, key)
        if isinstance(value, str):
            return self._text(value, key)
        if isinstance(value, int) and key in ("nodePort", "healthCheckNodePort") and str(value) not in self.asked:
            return "<port>" if 30000 <= value <= 32767 else value
        return value

    def _mapping(self, value: dict[str, Any]) -> dict[str, Any]:
        if not self.progress and value.get("kind") in ("Deployment", "ReplicaSet", "Scale"):
            value = _without_progress(value)
        found = {_UID.sub("<uid>", k): self.answer(v, k) for k, v in value.items() if not (k == "continue" and v == "")}
        if " in body " in str(value.get("message")) and value.get("kind") == "Status":
            causes = (found.get("details") or {}).get("causes") or []  # in the order of a Go map
            found["details"] = {**found["details"], "causes": sorted(causes, key=json.dumps)}
            found["message"] = sorted(re.split(r"(?:, |\[)(?=spec)", found["message"].rstrip("]")))
        if "endpointslice.kubernetes.io/managed-by" in (value.get("labels") or {}) and "generation" in value:
            found["generation"] = "<n>"  # how often its controller came by
        if "cells" in value and isinstance(value["cells"], list):
            found["cells"] = [self._cell(c) for c in value["cells"]]
        if {"gitVersion", "goVersion"} <= value.keys():
            return {k: (v if k in ("major", "minor", "platform") else "<build>") for k, v in value.items()}
        if set(value) == {"serverRelativeURL"}:
            found["serverRelativeURL"] = value["serverRelativeURL"].split("?")[0]
        return found

    def _sequence(self, value: list[Any], key: str) -> list[Any]:
        kept = [v for v in value if not _is_openshift(v) and not self._foreign(v)]
        found = [self.answer(v, key) for v in kept]
        if key in ("items", "rows") and kept and all(_is_made(v) for v in kept):
            return sorted(found, key=lambda v: json.dumps(v, sort_keys=True))  # sorted by made-up names
        if key in ("managedFields", "conditions", "endpoints", "resourceRules", "nonResourceRules"):
            return sorted(found, key=lambda v: json.dumps(v, sort_keys=True))
        return found

    def _foreign(self, value: Any) -> bool:
        """Whether an item or row belongs to another topic: its namespace, or an address of its services."""
        if not isinstance(value, dict):
            return False
        cells = value.get("cells")
        if (
            isinstance(cells, list)
            and len(cells) > 1
            and isinstance(cells[1], str)
            and cells[1].startswith("services/")
        ):
            return cells[1].split("/")[1] in TOPICS and cells[1].split("/")[1] != self.own
        meta = (value.get("object") or value).get("metadata") if isinstance(value.get("object", {}), dict) else None
        return isinstance(meta, dict) and meta.get("name") in TOPICS and meta.get("name") != self.own

    def _cell(self, cell: Any) -> Any:
        if not isinstance(cell, str):
            return cell
        cell = re.sub(
            r"\b30\d{3}\b|\b3[12]\d{3}\b", lambda m: m.group(0) if m.group(0) in self.asked else "<port>", cell
        )
        cell = re.sub(r"\((\d+[smhdy])+ ago\)", "(<age> ago)", cell)
        if _AGE.fullmatch(cell) or cell == "<unknown>":
            return "<age>"
        if _STAMP.fullmatch(cell):
            return "<time>"
        return self._text(cell, "cell")

    def _text(self, value: str, key: str) -> str:
        if key == "resourceVersion":
            return "<rv>" if value.isdigit() else value
        if key == "endpoints.kubernetes.io/last-change-trigger-time":
            return "<time>"
        if key in TIMES and re.match(r"\d{4}-\d\d-\d\dT", value):
            return "<time>"
        if key == "continue":
            return f"<token {token_parts(value)[1]!r}>" if value.startswith("eyJ2") else value
        if key == "serverAddress":
            return "<address>"
        if key == "message":
            return self._message(value)
        if key in ("ca.crt", "token") or value.startswith("PLACEHOLDER"):
            return "<secret>"
        if key == "manager" and value in CONTROLLERS:
            return "<controllers>"
        if key == "pod-template-hash":
            return "<hash>"
        value = _UID.sub("<uid>", value)
        if self._allocated(value):
            return "<address>"
        return self._made_name(value)

    def _made_name(self, value: str) -> str:
        value = _EVENT.sub(".<n>", value)
        value = _SUFFIX.sub("-<x>", value)
        value = _HASH.sub("-<hash>", value)
        return re.sub(r"pod-template-hash=\w+", "pod-template-hash=<hash>", value)

    def _message(self, value: str) -> str:
        value = _TOO_LARGE.sub(r"\1<rv>", _TOO_OLD.sub(r"\1(<rv>)", value))
        value = _PRINTED.sub("ResourceVersion in record (<rv>)", value)
        value = _RV_TEXT.sub('"resourceVersion":"<rv>"', _UID.sub("<uid>", value))
        value = _ADDRESS.sub(lambda m: self._shown_address(m.group(0)), value)
        return self._made_name(_STAMP.sub("<time>", value))

    def _shown_address(self, text: str) -> str:
        return "<address>" if self._allocated(text) else text

    def _allocated(self, value: str) -> bool:
        if value in self.asked or value in ("10.96.0.1", "fd00:96::1"):
            return False
        try:
            address = ipaddress.ip_address(value)
        except ValueError:
            return False
        return any(address.version == r.version and address in r for r in self._ranges)


def _is_made(value: Any) -> bool:
    """Whether an item or row has a generated name or is an allocated address."""
    if not isinstance(value, dict):
        return False
    cells = value.get("cells") or [""]
    meta = (value.get("object") or value).get("metadata") or {}
    return "generateName" in meta or bool(_ADDRESS.fullmatch(str(cells[0])))


def _without_progress(value: dict[str, Any]) -> dict[str, Any]:
    """A workload without what its controller wrote up to the moment of the answer."""
    found = {k: v for k, v in value.items() if k != "status"}
    meta = dict(found["metadata"])
    marks = {k: v for k, v in (meta.get("annotations") or {}).items() if k != "deployment.kubernetes.io/revision"}
    fields = [f for f in meta.get("managedFields") or [] if f.get("manager") not in CONTROLLERS]
    for key, kept in (("annotations", marks), ("managedFields", fields)):
        if kept:
            meta[key] = kept
        else:
            meta.pop(key, None)
    return found | {"metadata": meta}


def _is_openshift(value: Any) -> bool:
    """The recorder's server was a fork that projects one more config map into pods."""
    return (
        isinstance(value, dict)
        and isinstance(value.get("configMap"), dict)
        and value["configMap"].get("name") == _OPENSHIFT
    )


def asked_values(entries: list[dict[str, Any]]) -> set[str]:
    """Addresses and port numbers that the requests of a file name."""
    found: set[str] = set()

    def walk(value: Any, key: str = "") -> None:
        if isinstance(value, dict):
            for k, v in value.items():
                walk(v, k)
        elif isinstance(value, list):
            for v in value:
                walk(v, key)
        elif isinstance(value, str) and key in ("clusterIP", "clusterIPs"):
            found.add(value)
        elif isinstance(value, int) and key in ("nodePort", "healthCheckNodePort"):
            found.add(str(value))

    for entry in entries:
        if entry["request"]["method"] == "POST":
            walk(entry["request"]["body"])
    return found


def differences(recorded: Any, received: Any, at: str = "") -> list[str]:
    """Paths at which two reduced answers differ."""
    if isinstance(recorded, dict) and isinstance(received, dict):
        found = []
        for key in sorted(recorded.keys() | received.keys(), key=str):
            path = f"{at}.{key}" if at else str(key)
            if key not in received:
                found.append(f"{path}: missing, recorded {_short(recorded[key])}")
            elif key not in recorded:
                found.append(f"{path}: extra {_short(received[key])}")
            else:
                found += differences(recorded[key], received[key], path)
        return found
    if isinstance(recorded, list) and isinstance(received, list):
        if len(recorded) != len(received):
            return [f"{at}: {len(received)} items, recorded {len(recorded)}: {_items(received)} vs {_items(recorded)}"]
        return [
            d for i, (a, b) in enumerate(zip(recorded, received, strict=True)) for d in differences(a, b, f"{at}[{i}]")
        ]
    if recorded != received or type(recorded) is not type(received):
        return [f"{at}: {_short(received)}, recorded {_short(recorded)}"]
    return []


def _items(values: list[Any]) -> str:
    names = [
        v.get("metadata", {}).get("name") or v.get("name") or v.get("type") or "?"
        for v in values
        if isinstance(v, dict)
    ]
    return _short(names or values)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 400 else text[:400] + "..."
