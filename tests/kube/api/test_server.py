"""Verbs over HTTPS: what a client of the Kubernetes API relies on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from kube_api_client import Client, context, options

from podloom.drivers.pki import Authority
from podloom.kube.api.run import ApiServer

CMS = "/api/v1/namespaces/default/configmaps"


def cm(name: str, **data: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "data": data}


async def test_write_read_delete(api: Client) -> None:
    """An object goes through its life; stale writes are refused, equal ones change nothing."""
    status, made = await api.post(CMS, cm("a", k="1"))
    assert (status, made["kind"], made["data"]) == (201, "ConfigMap", {"k": "1"})
    assert (await api.post(CMS, cm("a")))[0] == 409
    status, changed = await api.merge(f"{CMS}/a", {"data": {"k": "2"}})
    assert int(changed["metadata"]["resourceVersion"]) > int(made["metadata"]["resourceVersion"])
    assert (await api.call("PUT", f"{CMS}/a", made))[0] == 409
    same = (await api.merge(f"{CMS}/a", {"data": {"k": "2"}}))[1]
    assert same["metadata"]["resourceVersion"] == changed["metadata"]["resourceVersion"]
    assert (await api.call("DELETE", f"{CMS}/a"))[1]["status"] == "Success"
    assert (await api.get(f"{CMS}/a"))[0] == 404


async def test_refused_generated_name_is_the_base(api: Client) -> None:
    """Admission's refusal names the base of a generated name, so that it reads the same each time."""
    pod = {
        "metadata": {"generateName": "web-"},
        "spec": {"serviceAccountName": "no", "containers": [{"name": "c", "image": "i"}]},
    }
    answers = [(await api.post("/api/v1/namespaces/default/pods", pod))[1]["message"] for _ in range(2)]
    assert answers[0] == answers[1]
    assert answers[0].startswith('pods "web-" is forbidden')


async def test_dry_run_stores_nothing(api: Client) -> None:
    """dryRun=All answers as if, and nothing is there afterwards."""
    assert (await api.post(f"{CMS}?dryRun=All", cm("dry")))[0] == 201
    assert (await api.get(f"{CMS}/dry"))[0] == 404


async def test_finalizer_holds_deletion(api: Client) -> None:
    """An object with a finalizer stays, marked, until the finalizer is removed."""
    body = cm("held") | {"metadata": {"name": "held", "finalizers": ["example.com/x"]}}
    await api.post(CMS, body)
    _, marked = await api.call("DELETE", f"{CMS}/held")
    assert marked["metadata"]["deletionTimestamp"]
    assert (await api.get(f"{CMS}/held"))[0] == 200
    await api.merge(f"{CMS}/held", {"metadata": {"finalizers": None}})
    assert (await api.get(f"{CMS}/held"))[0] == 404


async def test_pages_do_not_move(api: Client) -> None:
    """Pages of a list come from one revision, whatever is written in between."""
    for n in range(5):
        await api.post(CMS, cm(f"p{n}"))
    _, first = await api.get(f"{CMS}?limit=3")
    await api.post(CMS, cm("p9"))
    await api.call("DELETE", f"{CMS}/p4")
    _, second = await api.get(f"{CMS}?limit=3&continue={first['metadata']['continue']}")
    names = [i["metadata"]["name"] for i in first["items"] + second["items"]]
    assert [n for n in names if n.startswith("p")] == ["p0", "p1", "p2", "p3", "p4"]


async def _events(answer: aiohttp.ClientResponse) -> AsyncIterator[dict[str, Any]]:
    async for line in answer.content:
        yield json.loads(line)


async def test_watch_follows_a_list_without_gap(api: Client) -> None:
    """From a list's revision on, a watch gives every change once, in order, then ends in time."""
    _, listed = await api.get(CMS)
    await api.post(CMS, cm("w", k="1"))
    rv = listed["metadata"]["resourceVersion"]
    seen = []
    async with api.session.get(f"{api.url}{CMS}?watch=true&resourceVersion={rv}&timeoutSeconds=1") as answer:
        await api.merge(f"{CMS}/w", {"data": {"k": "2"}})
        await api.call("DELETE", f"{CMS}/w")
        async for event in _events(answer):
            seen.append((event["type"], event["object"]["metadata"]["name"]))
    assert seen == [("ADDED", "w"), ("MODIFIED", "w"), ("DELETED", "w")]


async def test_watch_below_compaction_is_expired(api: Client) -> None:
    """A watch, list or page from a forgotten revision is 410."""
    rv = (await api.post(CMS, cm("old")))[1]["metadata"]["resourceVersion"]
    await api.post(CMS, cm("new"))
    state = api.server.state
    state.compact(upto=state.revision)
    async with api.session.get(f"{api.url}{CMS}?watch=true&resourceVersion={rv}&timeoutSeconds=1") as answer:
        found = [event async for event in _events(answer)]
    assert [(e["type"], e["object"]["code"]) for e in found] == [("ERROR", 410)]
    assert (await api.get(f"{CMS}?resourceVersion={rv}&resourceVersionMatch=Exact"))[0] == 410


async def test_streamed_list_ends_with_a_bookmark(api: Client) -> None:
    """sendInitialEvents gives what is there and then an annotated bookmark."""
    await api.post(CMS, cm("s"))
    query = (
        "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=1"
    )
    async with api.session.get(f"{api.url}{CMS}?{query}") as answer:
        found = [event async for event in _events(answer)]
    assert [e["type"] for e in found] == ["ADDED", "BOOKMARK"]
    assert found[1]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


async def test_stopping_ends_watches(api: Client) -> None:
    """A stopping server ends its watches at once."""
    async with api.session.get(f"{api.url}{CMS}?watch=true") as answer:
        api.server.server.stop()
        async with asyncio.timeout(2):
            async for _ in answer.content:
                pass


async def test_namespace_lifecycle(api: Client) -> None:
    """Nothing is created in a namespace that is missing or going; it goes when finalized."""
    path = "/api/v1/namespaces"
    assert (await api.post(f"{path}/nope/configmaps", cm("x")))[0] == 404
    await api.post(path, {"metadata": {"name": "n1"}})
    await api.call("DELETE", f"{path}/n1")
    status, refused = await api.post(f"{path}/n1/configmaps", cm("x"))
    assert (status, refused["details"]["causes"][0]["reason"]) == (403, "NamespaceTerminating")
    _, stored = await api.get(f"{path}/n1")
    stored["spec"]["finalizers"] = []
    assert (await api.call("PUT", f"{path}/n1/finalize", stored))[0] == 200
    assert (await api.get(f"{path}/n1"))[0] == 404


CRD = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "things.t.example.com"},
    "spec": {
        "group": "t.example.com",
        "scope": "Namespaced",
        "names": {"plural": "things", "singular": "thing", "kind": "Thing"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {"spec": {"type": "object", "properties": {"n": {"type": "integer"}}}},
                    }
                },
            }
        ],
    },
}


async def _eventually(api: Client, path: str, wanted: int) -> Any:
    async with asyncio.timeout(5):
        while True:
            status, body = await api.get(path)
            if status == wanted:
                return body
            await asyncio.sleep(0.02)


async def test_custom_resources_come_and_go(api: Client) -> None:
    """A definition is served soon after it is stored, checked, and takes its objects along when deleted."""
    things = "/apis/t.example.com/v1/namespaces/default/things"
    await api.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", CRD)
    await _eventually(api, things, 200)
    thing = {"apiVersion": "t.example.com/v1", "kind": "Thing", "metadata": {"name": "a"}, "spec": {"n": 1}}
    assert (await api.post(things, thing))[0] == 201
    assert (await api.post(things, thing | {"metadata": {"name": "b"}, "spec": {"n": "x"}}))[0] == 422
    async with api.session.get(f"{api.url}{things}?watch=true") as answer:
        await api.call("DELETE", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/things.t.example.com")
        types = [event["type"] async for event in _events(answer)]
    assert types[:1] == ["ADDED"]
    assert types[-1] == "DELETED"
    await _eventually(api, things, 404)
    assert not api.server.state.head_list("t.example.com/things")


async def test_restart_keeps_everything(api: Client, tmp_path: Path, authority: Authority) -> None:
    """A new server over the same folder has the objects, the custom types, and continues old watches."""
    await api.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", CRD)
    await _eventually(api, "/apis/t.example.com/v1/namespaces/default/things", 200)
    _, made = await api.post(CMS, cm("kept", k="v"))
    await api.post(CMS, cm("later"))
    await api.server.stop()
    again = ApiServer(options(tmp_path, authority))
    await again.start()
    try:
        api.url = f"https://127.0.0.1:{again.ports[0]}"
        assert (await api.get(f"{CMS}/kept"))[1] == made
        assert (await api.get("/apis/t.example.com/v1/namespaces/default/things"))[0] == 200
        rv = made["metadata"]["resourceVersion"]
        async with api.session.get(f"{api.url}{CMS}?watch=true&resourceVersion={rv}&timeoutSeconds=1") as answer:
            assert [e["object"]["metadata"]["name"] async for e in _events(answer)] == ["later"]
    finally:
        await again.stop()


async def test_large_bodies(api: Client) -> None:
    """More than 3 MiB is refused before it is read whole; large lists are packed when asked."""
    status, body = await api.post(CMS, cm("big", x="x" * 3_300_000))
    assert (status, body["reason"]) == (413, "RequestEntityTooLarge")
    await api.post(CMS, cm("large", x="x" * 300_000))
    async with api.session.get(api.url + CMS, headers={"Accept-Encoding": "gzip"}) as answer:
        assert answer.headers["Content-Encoding"] == "gzip"
        assert len((await answer.json())["items"][-1]["data"]["x"]) == 300_000


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
async def test_garbage_is_a_client_error(api: Client, method: str) -> None:
    """Whatever a body holds, the answer is 4xx and the server goes on."""
    path = CMS if method == "POST" else f"{CMS}/kube-root"
    for body in (
        "",
        "[]",
        "null",
        '{"metadata": 5}',
        '{"metadata": {"name": []}}',
        "\x00",
        '"x"',
        '{"data": {"a": {}}}',
    ):
        content = "application/merge-patch+json" if method == "PATCH" else "application/json"
        status, _ = await api.call(method, path, body, content=content)
        assert 400 <= status < 500, (method, body, status)
    assert (await api.get("/livez"))[0] == 200


async def test_anonymous_and_certificates(api: Client, authority: Authority) -> None:
    """Without a certificate one is nobody; a certificate's user has what RBAC gives, no more."""
    for user, groups, path, wanted in (
        ("", [], CMS, 403),
        ("", [], "/version", 200),
        ("eve", [], CMS, 403),
        ("eve", ["system:masters"], CMS, 200),
    ):
        connector = aiohttp.TCPConnector(ssl=context(authority, f"{user}{len(groups)}", user, groups))
        async with aiohttp.ClientSession(connector=connector) as session, session.get(api.url + path) as answer:
            assert answer.status == wanted, (user, groups, path)
