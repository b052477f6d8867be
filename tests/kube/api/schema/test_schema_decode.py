"""Bodies and objects as a Go server would hold them, and its words for those it would not."""

from __future__ import annotations

import re
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from podloom.kube.api.contract import ResourceType, StatusError
from podloom.kube.api.schema import Schemas
from podloom.kube.api.schema.clone import clone
from podloom.kube.api.schema.decode import DecodeError, Decoder, finish
from podloom.kube.api.schema.parse import SyntaxError_, go_json_error, load_json, load_yaml
from podloom.kube.api.schema.registry import builtin

CONFIGMAPS = ResourceType("", "v1", "configmaps", "configmap", "ConfigMap", True)
PODS = ResourceType("", "v1", "pods", "pod", "Pod", True)
DEPLOYMENTS = ResourceType("apps", "v1", "deployments", "deployment", "Deployment", True)
LEASES = ResourceType("coordination.k8s.io", "v1", "leases", "lease", "Lease", True)
SLICES = ResourceType("discovery.k8s.io", "v1", "endpointslices", "endpointslice", "EndpointSlice", True)


@pytest.fixture(scope="module")
def schemas() -> Schemas:
    return Schemas()


def test_unknown_and_duplicate_fields(schemas: Schemas) -> None:
    """Dropped with a warning, refused when Strict, silent when Ignore."""
    obj = {"metadata": {"name": "x", "bogusMeta": 1}, "data": {"a": "1"}, "bogus": True}
    held, warnings = schemas.decode(
        CONFIGMAPS, dict(obj, metadata=dict(obj["metadata"])), "Warn", duplicates=["data.a"]
    )
    assert held == {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": {"a": "1"}}
    assert warnings == ['duplicate field "data.a"', 'unknown field "metadata.bogusMeta"', 'unknown field "bogus"']
    strict = 'strict decoding error: unknown field "metadata.bogusMeta", unknown field "bogus"'
    with pytest.raises(StatusError, match=re.escape(strict)):
        schemas.decode(CONFIGMAPS, clone(obj), "Strict")
    assert schemas.decode(CONFIGMAPS, obj, "Ignore")[1] == []


@pytest.mark.parametrize(
    ("rtype", "obj", "text"),
    [
        (CONFIGMAPS, {"data": {"a": 1}},
         "json: cannot unmarshal number into Go struct field ConfigMap.data of type string"),
        (PODS, {"spec": {"terminationGracePeriodSeconds": "x"}},
         "json: cannot unmarshal string into Go struct field PodSpec.spec.terminationGracePeriodSeconds of type int64"),
        (PODS, {"spec": {"containers": [{"ports": [{"containerPort": "x"}]}]}},
         "into Go struct field ContainerPort.spec.containers.ports.containerPort of type int32"),
        (PODS, {"spec": {"containers": {}}}, "of type []v1.Container"),
        (DEPLOYMENTS, {"spec": {"replicas": 1.5}},
         "json: cannot unmarshal number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32"),
        (PODS, {"spec": {"containers": [{"resources": {"limits": {"cpu": "abc"}}}]}}, "quantities must match"),
        (LEASES, {"spec": {"renewTime": "yesterday"}},
         'parsing time "yesterday" as "2006-01-02T15:04:05.000000Z07:00": cannot parse "yesterday" as "2006"'),
    ],
)  # fmt: skip
def test_wrong_types_are_400_with_the_go_field(schemas: Schemas, rtype: ResourceType, obj: Any, text: str) -> None:
    """The first value of a wrong type, in Go's words."""
    with pytest.raises(StatusError) as caught:
        schemas.decode(rtype, obj)
    assert caught.value.code == 400
    assert text in caught.value.message
    assert caught.value.message.startswith(f'{rtype.kind} in version "v1" cannot be handled as a {rtype.kind}: ')


def test_nulls_and_empty_values_vanish_zero_pointers_stay(schemas: Schemas) -> None:
    """Optional values that are zero go; pointers keep their zero; map values keep empty strings."""
    held, _ = schemas.decode(
        DEPLOYMENTS,
        {"metadata": {"labels": {}, "name": "d"}, "spec": {"replicas": 0, "minReadySeconds": 0, "paused": None,
         "template": {"spec": {"hostNetwork": False, "containers": [{"name": "c", "env": []}]}}}},
    )  # fmt: skip
    assert held["metadata"] == {"name": "d"}
    assert held["spec"] == {"replicas": 0, "template": {"spec": {"containers": [{"name": "c"}]}}}
    held, _ = schemas.decode(CONFIGMAPS, {"data": {"a": "", "b": None}})
    assert held["data"] == {"a": "", "b": ""}


def test_finish_writes_what_go_always_writes(schemas: Schemas) -> None:
    """Structs without content, nulls of required lists, zero times; again changes nothing."""
    deployment = schemas.finish(
        DEPLOYMENTS, {"metadata": {"name": "d"}, "spec": {"template": {"spec": {"containers": [{"name": "c"}]}}}}
    )
    assert deployment["status"] == {}
    assert deployment["spec"]["strategy"] == {}
    assert deployment["spec"]["selector"] is None
    assert deployment["spec"]["template"]["spec"]["containers"][0] == {"name": "c", "resources": {}}
    assert schemas.finish(DEPLOYMENTS, dict(deployment)) == deployment
    assert schemas.finish(SLICES, {"metadata": {}, "addressType": "IPv4", "endpoints": []})["endpoints"] is None


PARTS = st.sampled_from(["metadata", "spec", "containers", "name", "ports", "labels", "x"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(PARTS, inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from(["metadata", "spec", "status"]), JSON))
def test_decode_and_finish_have_fixed_points(obj: dict[str, Any]) -> None:
    """Whatever is accepted is afterwards accepted unchanged; whatever is not says so as a decode error."""
    node = builtin().kind("", "v1", "Pod")
    assert node is not None
    try:
        held = finish(node, Decoder().run(node, clone(obj)))
    except DecodeError:
        return
    again = Decoder()
    assert finish(node, again.run(node, clone(held))) == held
    assert again.unknown == []


@pytest.mark.parametrize(
    ("obj", "text"),
    [
        ({"apiVersion": "v1", "kind": "Pod"},
         'as a ConfigMap: converting (v1.Pod) to (core.ConfigMap): unknown conversion'),
        ({"apiVersion": "v2", "kind": "ConfigMap"}, 'no kind "ConfigMap" is registered for version "v2" in scheme'),
        ({"apiVersion": "v1", "kind": "Widget"}, 'no kind "Widget" is registered for version "v1" in scheme'),
    ],
)  # fmt: skip
def test_bodies_of_another_type(schemas: Schemas, obj: Any, text: str) -> None:
    """Another kind, version or an unregistered kind: 400."""
    with pytest.raises(StatusError) as caught:
        schemas.decode(CONFIGMAPS, obj)
    assert text in caught.value.message


# -- bodies ------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(JSON)
def test_json_round_trip(value: Any) -> None:
    """Every JSON value parses to itself without complaints."""
    assert load_json(orjson.dumps(value)) == (value, [])


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"apiVersion":"v1",', "unexpected end of JSON input"),
        (b"", "unexpected end of JSON input"),
        (b"{bad", "invalid character 'b' looking for beginning of object key string"),
        (b"[1,]", "invalid character ']' looking for beginning of value"),
        (b'{"a" 1}', "invalid character '1' after object key"),
        (b'{"a":1 "b"}', "invalid character '\"' after object key:value pair"),
        (b"[1 2]", "invalid character '2' after array element"),
        (b"1 2", "invalid character '2' after top-level value"),
        (b"nul", "unexpected end of JSON input"),
        (b"nulx", "invalid character 'x' in literal null (expecting 'l')"),
        (b'"a\\q"', "invalid character 'q' in string escape code"),
    ],
)
def test_json_errors_in_gos_words(body: bytes, text: str) -> None:
    """encoding/json's syntax errors."""
    assert go_json_error(body) == text
    with pytest.raises(SyntaxError_):
        load_json(body)


def test_duplicate_keys_have_paths() -> None:
    """The last one wins; the path leads through lists."""
    value, doubled = load_json(b'{"a":{"b":1,"b":2},"l":[{"c":1,"c":2}],"l":[]}')
    assert value == {"a": {"b": 2}, "l": []}
    assert doubled == ["a.b", "l[0].c", "l"]


def test_yaml_is_yaml_1_1_as_go_reads_it() -> None:
    """y is a boolean, dates are strings, octal and underscores are numbers; doubled keys have lines."""
    value, doubled = load_yaml(b"a: y\nb: 2026-01-01\nc: 0755\nd: 1_000\ne: 1:30\nf: ~\n1: x\ng: off\n")
    assert value == {"a": True, "b": "2026-01-01", "c": 493, "d": 1000, "e": "1:30", "f": None, "1": "x", "g": False}
    assert doubled == ""
    assert load_yaml(b"a: 1\nb: 2\na: 3\n")[1] == 'yaml: unmarshal errors:\n  line 3: key "a" already set in map'
    with pytest.raises(SyntaxError_, match="yaml: line 1: did not find expected ',' or ']'"):
        load_yaml(b"a: [b\n")


def test_hostile_bodies_are_refused_cheaply() -> None:
    """Deep nesting and alias bombs end in an error, not in a crash or gigabytes."""
    with pytest.raises(SyntaxError_):
        load_json(b"[" * 200_000)
    bomb = b"a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
    for level in range(1, 9):
        bomb += f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n".encode()
    with pytest.raises(SyntaxError_, match="excessive aliasing"):
        load_yaml(bomb)


def test_unrecognised_bodies(schemas: Schemas) -> None:
    """What the message shows of the body: nothing, text, or hex."""
    for body, text in (
        (b"", "unexpected end of JSON input (<empty>)"),
        (b"[1,2]", "(5b312c325d)"),
        (b'{"apiVersion":"v1",', '({"apiVersion":"v1",)'),
    ):
        with pytest.raises(StatusError) as caught:
            schemas.parse(body, "application/json", "ConfigMap")
        assert caught.value.message.startswith(
            "the object provided is unrecognized (must be of type ConfigMap): couldn't get"
        )
        assert caught.value.message.endswith(text)
    with pytest.raises(StatusError, match="Object 'Kind' is missing in"):
        schemas.parse(b'{"metadata":{}}', "application/json", "Widget", custom=True)
