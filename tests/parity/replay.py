"""Replays recordings of a real Kubernetes API server and says what this one answers differently.

One file only, or single entries of it (all earlier entries are replayed too, silently):

    .venv/bin/python tests/parity/replay.py                     # everything: matched/total per file
    .venv/bin/python tests/parity/replay.py crud.json           # one file, with every difference
    .venv/bin/python tests/parity/replay.py crud.json 40 41     # only show entries 40 and 41
    .venv/bin/python tests/parity/replay.py -v crud.json 40     # with both whole answers

Recordings: $PODLOOM_KUBE_RECORDINGS, default ../shared/data/kube-api beside the repository. A fresh server process
(`python -m podloom.kube.api`) and controllers (`python -m podloom.kube.controllers`) run per configuration; setup
that was not recorded is in setups.py.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import sys
import threading
import time
import weakref
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import cluster
import known
import setups
import yaml
from normalise import Learned, Neutral, asked_values, differences

FILES = (
    "discovery.json", "crud.json", "errors.json", "patch.json", "list-watch.json", "crd.json", "services.json",
    "services-dualstack.json",
)  # fmt: skip


def recordings() -> Path:
    """The folder of the recordings, whether it exists or not."""
    root = Path(__file__).resolve().parents[2]
    return Path(os.environ.get("PODLOOM_KUBE_RECORDINGS", root.parent / "shared/data/kube-api"))


@dataclass
class Outcome:
    """One entry: what differs, nothing if it matched."""

    index: int
    title: str
    wrong: list[str]
    recorded: Any = None
    received: Any = None


@dataclass
class Report:
    """One file's outcomes."""

    name: str
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def matched(self) -> int:
        return sum(not o.wrong for o in self.outcomes)


class Player:
    """Sends the entries of one file, in order, to one server."""

    def __init__(self, server: cluster.Cluster, name: str, entries: list[dict[str, Any]]) -> None:
        self.server = server
        self.name = name
        self.entries = entries
        self.learned = Learned()
        self.neutral = Neutral(asked_values(entries), own=setups.OWN.get(name, ""), progress=name != "patch.json")
        self._rv: dict[tuple[str, str], str] = {}

    def play(self, upto: int | None = None) -> Report:
        report = Report(self.name)
        self._keep_node()
        steps = setups.SETUPS.get(self.name, {})
        for index, entry in enumerate(self.entries):
            if upto is not None and index > upto:
                break
            for step in steps.get(index, ()):
                self._step(step)
            report.outcomes.append(self._entry(index, entry))
        return report

    def _keep_node(self) -> None:
        """Renew the lease of node-a like its kubelet would, while the player lives."""
        player = weakref.ref(self)

        def renew() -> None:
            while (alive := player()) is not None:
                stamp = time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime())
                with contextlib.suppress(OSError):
                    alive.send("PATCH", setups.LEASE_PATH, {"spec": {"renewTime": stamp}}, dict(setups.MERGE))
                del alive
                time.sleep(3)

        threading.Thread(target=renew, daemon=True).start()

    def _step(self, step: setups.Step) -> None:
        deadline = time.monotonic() + 15
        while True:
            status, _, body = self.send(
                step.method, self.learned.path(step.path), self.learned.body(step.body), step.headers
            )
            if step.until is None or step.until(status, body):
                break
            if time.monotonic() > deadline:
                print(f"  {self.name}: setup {step.method} {step.path}: still {status}", file=sys.stderr)
                break
            time.sleep(0.05)
        if step.until is None and status >= 400 and not step.may_fail:
            print(f"  {self.name}: setup {step.method} {step.path}: {status} {str(body)[:300]}", file=sys.stderr)

    def _entry(self, index: int, entry: dict[str, Any]) -> Outcome:
        request, recorded = entry["request"], entry["response"]
        title = f"{request['method']} {request['path'][:150]} # {entry['note']}"
        headers = dict(request["headers"]) | setups.headers_for(self.name, index, entry["note"], self.learned.secrets)
        body = setups.body_for(self.name, index, request["body"])
        body = self.learned.body(body) if not isinstance(body, (str, bytes)) else body
        path = self.learned.path(request["path"])
        if request["method"] == "PUT" and recorded["status"] == 200:
            body = self._newest(path, body)
        patient = setups.PATIENCE.get(self.name, {}).get(index, 0.0)
        deadline = time.monotonic() + patient
        wrong: list[str] = []
        while True:
            try:
                status, kept, answer = self._send_entry(index, request, path, body, headers)
            except Exception as exc:
                return Outcome(index, title, [f"no answer: {exc!r}"])
            wrong = self._compare(recorded, status, kept, answer)
            if not wrong or time.monotonic() > deadline:
                break
            time.sleep(0.1)
        self.learned.learn(recorded["body"], answer)
        if not wrong:
            wrong = self._revisions(recorded["body"], answer)
        return Outcome(index, title, wrong, recorded, {"status": status, "headers": kept, "body": answer})

    def _newest(self, path: str, body: Any) -> Any:
        """A PUT body that succeeded when recorded, with the object's present revision (controllers write too)."""
        if not isinstance(body, dict) or "resourceVersion" not in body.get("metadata", {}):
            return body
        status, _, found = self.send("GET", path.split("?", maxsplit=1)[0], None, {"Accept": "application/json"})
        if status != 200:
            return body
        return body | {"metadata": body["metadata"] | {"resourceVersion": found["metadata"]["resourceVersion"]}}

    def _send_entry(
        self, index: int, request: dict[str, Any], path: str, body: Any, headers: dict[str, str]
    ) -> tuple[int, dict[str, Any], Any]:
        during = setups.DURING.get(self.name, {}).get(index)
        result: list[Any] = []
        if not during:
            return self.send(request["method"], path, body, headers, watch=_is_watch(path))
        thread = threading.Thread(
            target=lambda: result.append(self.send(request["method"], path, body, headers, watch=True))
        )
        thread.start()
        time.sleep(0.3)
        for step in during:
            self._step(step)
            time.sleep(step.pause_s)
        thread.join()
        return result[0]  # type: ignore[no-any-return]

    def send(
        self, method: str, path: str, body: Any, headers: dict[str, str], *, watch: bool = False
    ) -> tuple[int, dict[str, Any], Any]:
        """One request on a connection of its own: status, compared headers, decoded body."""
        headers = {"User-Agent": "recorder/1.0", **headers}
        anonymous = headers.pop("X-Anonymous", "")
        data = None
        if body is not None:
            data = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self.server.port, context=self.server.tls(anonymous=bool(anonymous)), timeout=30
        )
        try:
            connection.putrequest(method, path, skip_accept_encoding=True)
            for key, value in headers.items():
                connection.putheader(key, value)
            if data is not None:
                connection.putheader("Content-Length", str(len(data)))
            connection.endheaders(data)
            answer = connection.getresponse()
            raw = answer.read()
            kept: dict[str, Any] = {}
            if answer.headers.get("Content-Type"):
                kept["Content-Type"] = answer.headers["Content-Type"]
            if answer.headers.get_all("Warning"):
                kept["Warning"] = answer.headers.get_all("Warning")
            return answer.status, kept, _decode(raw, kept, watch=watch and answer.status == 200)
        finally:
            connection.close()

    def _compare(self, recorded: dict[str, Any], status: int, headers: dict[str, Any], body: Any) -> list[str]:
        wrong = []
        if "yaml" in recorded["headers"].get("Content-Type", ""):
            recorded = {**recorded, "body": _yaml(recorded["body"])}
        if status != recorded["status"]:
            shown = body.get("message", "") if isinstance(body, dict) else body
            wrong.append(f"status {status}, recorded {recorded['status']}: {str(shown)[:300]}")
        wrong += differences(recorded["headers"], headers, "headers")
        return wrong + differences(self.neutral.answer(recorded["body"]), self.neutral.answer(body))

    def _revisions(self, recorded: Any, received: Any) -> list[str]:
        """Equal recorded revisions of an object must be equal here."""
        wrong: list[str] = []
        if not self.neutral.progress and isinstance(recorded, dict) and recorded.get("kind") == "Deployment":
            return wrong
        for old, new in _objects(recorded, received):
            uid, rv = old.get("uid"), old.get("resourceVersion")
            if not uid or not rv or not new.get("resourceVersion"):
                continue
            seen = self._rv.setdefault((uid, rv), new["resourceVersion"])
            if seen != new["resourceVersion"]:
                wrong.append(f"resourceVersion of {old.get('name')} changed where the recorded one stayed {rv}")
        return wrong


def _objects(recorded: Any, received: Any) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    if not isinstance(recorded, dict) or not isinstance(received, dict):
        return []
    if isinstance(recorded.get("metadata"), dict) and isinstance(received.get("metadata"), dict):
        found = [(recorded["metadata"], received["metadata"])]
        for a, b in zip(recorded.get("items") or [], received.get("items") or [], strict=False):
            found += _objects(a, b)
        return found
    return []


def _yaml(text: str) -> Any:
    """A YAML body as JSON types (times stay text)."""
    return yaml.load(text, yaml.BaseLoader)


def _is_watch(path: str) -> bool:
    return "watch=true" in path or "watch=1" in path or "/watch/" in path


def _decode(raw: bytes, headers: dict[str, Any], *, watch: bool) -> Any:
    text = raw.decode("utf-8", "replace")
    if watch:
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    if not text:
        return ""
    if "yaml" in headers.get("Content-Type", ""):
        return _yaml(text)
    try:
        return json.loads(text)
    except ValueError:
        return text


def play_all(names: list[str], folder: Path, *, upto: int | None = None, controllers: bool = True) -> dict[str, Report]:
    """Reports of the named files; one server for the first seven, one for services-dualstack."""
    reports = {}
    plain = [n for n in names if n != "services-dualstack.json"]
    for group, cidr in ((plain, "10.96.0.0/16"), ([n for n in names if n not in plain], "10.96.0.0/16,fd00:96::/112")):
        if not group:
            continue
        pods = "10.244.0.0/16,fd00:244::/56" if "," in cidr else ""
        with cluster.Cluster(service_cidr=cidr, pod_cidr=pods, controllers=controllers) as server:
            for name in group:
                entries = json.loads((folder / name).read_text())
                reports[name] = Player(server, name, entries).play(upto)
    return reports


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?")
    parser.add_argument("entries", nargs="*", type=int)
    parser.add_argument("-v", "--verbose", action="store_true")
    parser.add_argument("--no-controllers", action="store_true")
    parser.add_argument("--differences", action="store_true", help="print known differences as a Markdown table")
    given = parser.parse_args()
    folder = recordings()
    if given.differences:
        print(table_of_differences())
        return 0
    if not folder.is_dir():
        print(f"no recordings in {folder}")
        return 2
    names = [given.file] if given.file else list(FILES)
    reports = play_all(
        names, folder, upto=max(given.entries) if given.entries else None, controllers=not given.no_controllers
    )
    for name, report in reports.items():
        for outcome in report.outcomes:
            chosen = outcome.index in given.entries if given.entries else outcome.wrong
            if given.file and chosen:
                _print(outcome, verbose=given.verbose)
        print(f"{name:26} {report.matched:4}/{len(report.outcomes)}")
    if len(reports) > 1:
        total = sum(len(r.outcomes) for r in reports.values())
        matched = sum(r.matched for r in reports.values())
        print(f"{'all':26} {matched:4}/{total}  {100 * matched / total:.1f}%")
    return 0


def table_of_differences() -> str:
    """The known differences as Markdown: recording, entries, reason."""
    lines = ["| recording | entries | reason |", "|---|---|---|"]
    for name, reasons in known.KNOWN.items():
        for reason in dict.fromkeys(reasons.values()):
            entries = ", ".join(str(i) for i, r in sorted(reasons.items()) if r == reason)
            lines.append(f"| {name} | {entries} | {reason} |")
    return "\n".join(lines)


def unlisted(reports: dict[str, Report]) -> list[str]:
    """Entries that differ and are not in the list of known differences."""
    return [
        f"{name}[{o.index}] {o.title}: {o.wrong[0]}"
        for name, report in reports.items()
        for o in report.outcomes
        if o.wrong and o.index not in known.KNOWN.get(name, {})
    ]


def _print(outcome: Outcome, *, verbose: bool) -> None:
    print(f"[{outcome.index}] {'ok ' if not outcome.wrong else ''}{outcome.title}")
    for line in outcome.wrong[:12]:
        print(f"      {line}")
    if len(outcome.wrong) > 12:
        print(f"      ... and {len(outcome.wrong) - 12} more")
    if verbose:
        print("      recorded:", json.dumps(outcome.recorded))
        print("      received:", json.dumps(outcome.received))


if __name__ == "__main__":
    sys.exit(main())
