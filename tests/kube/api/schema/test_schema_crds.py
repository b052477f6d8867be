"""Custom resources from definition to object: validation, CEL, defaults, pruning, names, columns, OpenAPI."""

from __future__ import annotations

from typing import Any

import pytest

from podloom.kube.api.contract import Cause, Context, Object, Reader, ResourceType, Settings, Subresource
from podloom.kube.api.schema import Schemas
from podloom.kube.api.schema.celast import parse
from podloom.kube.api.schema.celcheck import check_rules
from podloom.kube.api.schema.clone import clone
from podloom.kube.api.schema.crd import settled
from podloom.kube.api.schema.crdvalidation import validate_crd, validate_crd_update
from podloom.kube.api.schema.custom import CustomKind, human_duration
from podloom.kube.api.schema.formats import matches_format
from podloom.kube.api.schema.jsonpath import find
from podloom.kube.api.schema.rules import Rules, escape
from podloom.kube.api.schema.structural import apply_defaults, prune, to_node

NOW = "2026-01-01T00:00:00Z"
SPEC: Object = {
    "type": "object",
    "required": ["size"],
    "properties": {
        "size": {"type": "integer", "minimum": 1, "maximum": 10},
        "color": {"type": "string", "enum": ["red", "blue"], "default": "red"},
        "once": {"type": "string", "maxLength": 10, "x-kubernetes-validations": [{"rule": "self == oldSelf"}]},
        "max": {"type": "integer"},
        "ios": {"x-kubernetes-int-or-string": True},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        "tags": {
            "type": "array",
            "items": {"type": "string", "maxLength": 9},
            "maxItems": 5,
            "x-kubernetes-list-type": "set",
        },
        "nested": {"type": "object", "default": {}, "properties": {"mode": {"type": "string", "default": "auto"}}},
        "ports": {
            "type": "array",
            "maxItems": 8,
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["port", "proto"],
            "items": {
                "type": "object",
                "required": ["port"],
                "properties": {"port": {"type": "integer"}, "proto": {"type": "string", "default": "TCP"}},
            },
        },
    },
    "x-kubernetes-validations": [
        {"rule": "!has(self.max) || self.size <= self.max", "message": "size must not exceed max", "fieldPath": ".size"}
    ],
}


def crd(spec: Object = SPEC, **version: Any) -> Object:
    schema = {
        "type": "object",
        "properties": {"spec": spec, "status": {"type": "object", "properties": {"n": {"type": "integer"}}}},
    }
    v1 = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {
            "status": {},
            "scale": {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.n"},
        },
        **version,
    }
    names = {
        "plural": "widgets",
        "singular": "widget",
        "kind": "Widget",
        "listKind": "WidgetList",
        "shortNames": ["wd"],
    }
    spec_ = {
        "group": "e.com",
        "scope": "Namespaced",
        "names": names,
        "versions": [v1],
        "conversion": {"strategy": "None"},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.e.com"},
        "spec": spec_,
        "status": {"storedVersions": ["v1"], "acceptedNames": {}},
    }


class Nothing(Reader):
    def get(self, group: str, plural: str, namespace: str, name: str) -> Object | None:
        return None

    def list(self, group: str, plural: str, namespace: str = "") -> list[Object]:
        return []


def context(verb: str = "create", subresource: str = "") -> Context:
    return Context(reader=Nothing(), settings=Settings(), now=NOW, verb=verb, subresource=subresource)


@pytest.fixture
def schemas() -> Schemas:
    return Schemas()


@pytest.fixture
def widget(schemas: Schemas) -> CustomKind:
    established = settled(crd(), [], NOW)
    assert established is not None
    kind = schemas.add_crd(established)[0]
    assert isinstance(kind, CustomKind)
    return kind


def texts(causes: list[Cause]) -> list[str]:
    return [f"{cause.field}: {cause.message}" for cause in causes]


# -- definitions -------------------------------------------------------------------------------------------


def test_a_good_definition_has_no_mistakes() -> None:
    assert validate_crd(crd()) == []


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda c: c["metadata"].update(name="x"),
         'metadata.name: Invalid value: "x": must be spec.names.plural+"."+spec.group'),
        (lambda c: c["spec"].update(scope="Galaxy"),
         'spec.scope: Unsupported value: "Galaxy": supported values: "Cluster", "Namespaced"'),
        (lambda c: c["spec"]["versions"][0].pop("schema"), "spec.versions[0].schema.openAPIV3Schema: Required value"),
        (lambda c: c["spec"]["names"].update(plural="Widgets"), "spec.names.plural: Invalid value"),
        (lambda c: c["spec"].update(group="com"),
         "spec.group: Invalid value: \"com\": should be a domain with at least one dot"),
        (lambda c: c["status"].update(storedVersions=["v0"]),
         "status.storedVersions[0]: Invalid value: \"v0\": missing from spec.versions"),
        (lambda c: c["spec"]["versions"][0].update(
            additionalPrinterColumns=[{"name": "A", "type": "text", "jsonPath": ".x"}]),
         'spec.additionalPrinterColumns[0].type: Invalid value: "text": must be one of boolean,date,integer,'),
    ],
)  # fmt: skip
def test_mistakes_of_a_definition(change: Any, text: str) -> None:
    """Each is found and named at its path."""
    definition = crd()
    change(definition)
    assert any(found.startswith(text) for found in texts(validate_crd(definition)))


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"type": "object", "properties": {"a": {}}},
         ".properties[a].type: Required value: must not be empty for specified object fields"),
        ({"type": "object", "properties": {"a": {"type": "strin"}}}, '.properties[a].type: Unsupported value: "strin"'),
        ({"type": "object", "properties": {"a": {"type": "array"}}},
         ".properties[a].items: Required value: must be specified"),
        ({"type": "object", "properties": {"a": {"type": "integer", "default": "x"}}},
         '.properties[a].default: Invalid value: "string":  in body must be of type integer: "string"'),
        ({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": {"type": "string"}},
         ".additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive"),
        ({"type": "object", "properties": {"a": {"type": "array",
          "items": {"type": "object", "properties": {"k": {"type": "string"}}},
          "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]}}},
         ".properties[a].items.properties[k].default: Required value"),
    ],
)  # fmt: skip
def test_schemas_must_be_structural(schema: Object, text: str) -> None:
    """The structural rules of the CRD documentation."""
    definition = crd()
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"] = schema
    path = "spec.validation.openAPIV3Schema.properties[spec]"
    assert any(found.startswith(path + text) for found in texts(validate_crd(definition)))


def test_scope_and_names_do_not_change_once_established() -> None:
    before = settled(crd(), [], NOW)
    assert before is not None
    after = clone(before)
    after["spec"]["scope"] = "Cluster"
    assert 'spec.scope: Invalid value: "Cluster": field is immutable' in texts(validate_crd_update(after, before))


def test_names_are_accepted_or_refused() -> None:
    """The first gets its names; a second with the same short name is not established, until that is free."""
    first = settled(crd(), [], NOW)
    assert first is not None
    assert first["status"]["acceptedNames"]["shortNames"] == ["wd"]
    assert settled(first, [], NOW) is None
    other = crd()
    other["spec"]["names"] = {
        "plural": "wids",
        "singular": "wid",
        "kind": "Wid",
        "listKind": "WidList",
        "shortNames": ["wd"],
    }
    second = settled(other, [first], NOW)
    assert second is not None
    conditions = {c["type"]: c for c in second["status"]["conditions"]}
    assert conditions["NamesAccepted"]["reason"] == "ShortNamesConflict"
    assert conditions["NamesAccepted"]["message"] == '"wd" is already in use'
    assert conditions["Established"]["status"] == "False"
    freed = settled(second, [], NOW)
    assert freed is not None
    assert {c["type"]: c["status"] for c in freed["status"]["conditions"]} == {
        "NamesAccepted": "True",
        "Established": "True",
    }


# -- objects -----------------------------------------------------------------------------------------------


def create(schemas: Schemas, kind: CustomKind, spec: Object) -> tuple[Object, list[str], list[str]]:
    """The stored object, warnings and mistakes of a create."""
    obj: Object = {"apiVersion": "e.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": spec}
    obj, warnings = schemas.decode(kind.type, obj)
    kind.default(obj, context())
    kind.prepare_create(obj, context())
    return obj, warnings, texts(kind.validate_create(obj, context()))


def test_defaults_pruning_and_nulls(schemas: Schemas, widget: CustomKind) -> None:
    """Unknown fields go with a warning, free ones stay; defaults are filled in depth; nulls go or become defaults."""
    spec = {"size": 3.0, "bogus": 1, "free": {"x": {"y": None}}, "nested": {"zz": 1}, "color": None, "max": None}
    obj, warnings, mistakes = create(schemas, widget, spec)
    assert obj["spec"] == {"size": 3, "free": {"x": {"y": None}}, "nested": {"mode": "auto"}, "color": "red"}
    assert type(obj["spec"]["size"]) is int
    assert warnings == ['unknown field "spec.bogus"', 'unknown field "spec.nested.zz"']
    assert mistakes == []
    assert obj["metadata"]["generation"] == 1


def test_all_mistakes_at_once(schemas: Schemas, widget: CustomKind) -> None:
    """Every broken constraint is a cause; rules are not run on an object that does not fit."""
    spec = {"size": 99, "color": "green", "ios": True, "tags": ["a", "a"], "ports": [{"port": 1}, {"port": 1}]}
    mistakes = create(schemas, widget, spec)[2]
    assert mistakes == [
        "spec.size: Invalid value: 99: spec.size in body should be less than or equal to 10",
        'spec.color: Unsupported value: "green": supported values: "red", "blue"',
        'spec.ios: Invalid value: "boolean": spec.ios in body must be of type integer,string: "boolean"',
        'spec.tags[1]: Duplicate value: "a"',
        'spec.ports[1]: Duplicate value: {"port":1,"proto":"TCP"}',
        "<nil>: Invalid value: null: some validation rules were not checked because the object was invalid; "
        "correct the existing errors to complete validation",
    ]
    assert create(schemas, widget, {})[2][0] == "spec.size: Required value"
    assert create(schemas, widget, {"size": 5, "max": 3})[2] == ["spec.size: Invalid value: size must not exceed max"]


def test_updates_ratchet_and_transition_rules_run(schemas: Schemas, widget: CustomKind) -> None:
    """What was wrong before and did not change is let through; what changes is judged, with oldSelf."""
    old = create(schemas, widget, {"size": 5, "once": "a"})[0]
    old["spec"]["color"] = "green"
    new = clone(old)
    new["spec"]["max"] = 7
    assert widget.validate_update(new, old, context("update")) == []
    new["spec"]["once"] = "b"
    assert texts(widget.validate_update(new, old, context("update"))) == [
        'spec.once: Invalid value: "b": failed rule: self == oldSelf'
    ]


def test_status_scale_and_generation(schemas: Schemas, widget: CustomKind) -> None:
    """Status is kept apart; generation counts changes of the rest; scale reads and writes by path."""
    old = create(schemas, widget, {"size": 5})[0]
    status = {**clone(old), "status": {"n": 2}, "spec": {"size": 9}}
    status["metadata"]["labels"] = {"ignored": "yes"}
    widget.prepare_update(status, old, context("update", "status"))
    assert status["spec"]["size"] == 5
    assert status["status"] == {"n": 2}
    assert "labels" not in status["metadata"]
    assert widget.get_scale(status) == {"spec": {"replicas": 5}, "status": {"replicas": 2}}
    new = clone(status)
    new.pop("status")
    widget.set_scale(new, 6)
    widget.prepare_update(new, status, context("update"))
    assert (new["spec"]["size"], new["status"], new["metadata"]["generation"]) == (6, {"n": 2}, 2)


def test_apply_merges_lists_by_the_schema(schemas: Schemas, widget: CustomKind) -> None:
    """Map keys with defaults and set members are owned one by one; unknown fields are a 500."""
    body = b'{"apiVersion":"e.com/v1","kind":"Widget","metadata":{"name":"w"},'
    body += b'"spec":{"size":1,"ports":[{"port":80}],"tags":["a"]}}'
    patched = schemas.apply_patch(
        "application/apply-patch+yaml", widget.type, None, body, name="w", manager="m1", now=NOW
    )
    assert patched.applied
    assert patched.obj["metadata"]["managedFields"][0]["fieldsV1"] == {
        "f:spec": {
            "f:size": {},
            "f:ports": {'k:{"port":80,"proto":"TCP"}': {".": {}, "f:port": {}}},
            "f:tags": {'v:"a"': {}},
        }
    }


def test_tables(schemas: Schemas) -> None:
    """Columns by JSONPath with their types; a missing value is null; dates are ages."""
    columns = [
        {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
        {"name": "Ready", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Ready")].status'},
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp", "priority": 1},
    ]
    established = settled(crd(additionalPrinterColumns=columns), [], NOW)
    assert established is not None
    kind = schemas.add_crd(established)[0]
    assert [c.name for c in kind.columns()] == ["Name", "Size", "Ready", "Age"]
    obj = {
        "metadata": {"name": "w", "creationTimestamp": "2025-12-31T23:58:30Z"},
        "spec": {"size": 3},
        "status": {"conditions": [{"type": "Other", "status": "X"}, {"type": "Ready", "status": "True"}]},
    }
    assert kind.cells(obj, NOW) == ["w", 3, "True", "90s"]
    assert kind.cells({"metadata": {"name": "w"}}, NOW) == ["w", None, None, None]


def test_stored_objects_gain_new_defaults(schemas: Schemas, widget: CustomKind) -> None:
    """A default added later shows on read, the stored object is not touched; nothing to add is no copy."""
    stored: Object = {"metadata": {"name": "w"}, "spec": {"size": 1}}
    read = widget.from_storage(stored)
    assert read["spec"] == {"size": 1, "color": "red", "nested": {"mode": "auto"}}
    assert stored["spec"] == {"size": 1}
    assert widget.from_storage(read) is read


def test_ages() -> None:
    """kubectl's two-part durations."""
    assert [human_duration(s) for s in (5, 119, 200, 60 * 60, 9000, 100000, 300000, 86400 * 800)] == [
        "5s", "119s", "3m20s", "60m", "150m", "27h", "3d11h", "2y70d",
    ]  # fmt: skip


# -- CEL ---------------------------------------------------------------------------------------------------

GOOD_RULES = [
    "has(self.a) ? self.a.startsWith('x') : true",
    "self.list.all(i, i.name != '') && self.list.exists_one(i, i.n == 1)",
    "self.list.filter(i, has(i.name)).size() < 3",
    "self.list.map(i, i.n).sum() <= 10",
    "self.a in ['x', 'y'] || self.a.matches('^[a-z]+1$')",
    "quantity('1Gi').isGreaterThan(quantity('1Mi')) && isQuantity('1')",
    "cidr('10.0.0.0/8').containsIP('10.1.1.1') && ip('::1').family() == 6",
    "url('https://e.com:8/p').getHost() == 'e.com:8'",
    "self.m.all(k, k.size() < 9) && !('x' in self.m)",
    "self.n * 2 > 1 && self.d < 2.5 && self.a + 'x' == 'x1x'",
    "self.when < timestamp('2030-01-01T00:00:00Z') && duration('1h') > duration('5m')",
    "type(self.n) == int && math.greatest(self.n, 2) == 2",
    "self.ios == 3 || self.ios == '3'",
    "self.a.split(',').size() == 1 && 'A'.lowerAscii() == 'a'",
    'self.a.matches(r"""^x\\d*$""")',
    "self.a__dash__b == 1",
    "!format.dns1123Label().validate(self.a).hasValue() && format.uuid().validate('x').hasValue()",
    "format.named('labelValue').hasValue() && !format.named('nope').hasValue()",
]
CEL_SCHEMA: Object = {
    "type": "object",
    "properties": {
        "a": {"type": "string", "maxLength": 20},
        "n": {"type": "integer"},
        "d": {"type": "number"},
        "ios": {"x-kubernetes-int-or-string": True},
        "when": {"type": "string", "format": "date-time"},
        "a-b": {"type": "integer"},
        "m": {"type": "object", "maxProperties": 4, "additionalProperties": {"type": "string", "maxLength": 5}},
        "list": {
            "type": "array",
            "maxItems": 4,
            "items": {
                "type": "object",
                "properties": {"name": {"type": "string", "maxLength": 9}, "n": {"type": "integer"}},
            },
        },
    },
}
CEL_VALUE: Object = {
    "a": "x1", "n": 1, "d": 1, "ios": 3, "when": "2026-01-01T00:00:00Z", "a-b": 1, "m": {"k": "v"},
    "list": [{"name": "p", "n": 1}, {"name": "q", "n": 2}],
}  # fmt: skip


@pytest.mark.parametrize("rule", GOOD_RULES)
def test_good_rules_compile_and_hold(rule: str) -> None:
    """Accepted at definition time and true of a fitting value."""
    schema = {**CEL_SCHEMA, "x-kubernetes-validations": [{"rule": rule}]}
    assert texts(list(check_rules(schema, "s"))) == []
    assert Rules(schema).evaluate(CEL_VALUE) == []
    parse(rule)


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("self.nope > 1", "ERROR: <input>:1:5: undefined field 'nope'\n | self.nope > 1\n | ....^"),
        ("self.a.x == 1", "ERROR: <input>:1:7: type 'string' does not support field selection"),
        ("self.a > 1", "ERROR: <input>:1:8: found no matching overload for '_>_' applied to '(string, int)'"),
        ("frob(self.a)", "ERROR: <input>:1:5: undeclared reference to 'frob' (in container '')"),
        ("other.x", "ERROR: <input>:1:1: undeclared reference to 'other' (in container '')"),
        ("self.a", "cel expression must evaluate to a bool"),
        ("self.a ==", "ERROR: <input>:1:10: Syntax error"),
    ],
)
def test_bad_rules_are_refused_in_cel_gos_words(rule: str, text: str) -> None:
    """Compilation and type errors with their position."""
    found = texts(list(check_rules({**CEL_SCHEMA, "x-kubernetes-validations": [{"rule": rule}]}, "s")))
    assert len(found) == 1
    assert text in found[0]


def test_unbounded_loops_cost_too_much() -> None:
    """A rule over an unbounded list of unbounded strings is over the budget; with limits it is not."""

    def schema(**limits: int) -> Object:
        items = {"type": "string", **({"maxLength": 10} if limits else {})}
        return {"type": "array", "items": items, **limits,
                "x-kubernetes-validations": [{"rule": "self.all(x, self.exists_one(y, x == y))"}]}  # fmt: skip

    found = texts(list(check_rules(schema(), "s")))
    assert found[0].startswith(
        "s.x-kubernetes-validations[0].rule: Forbidden: estimated rule cost exceeds budget by factor of more than 100x"
    )
    assert list(check_rules(schema(maxItems=10), "s")) == []


def test_rules_that_cannot_work_where_they_are() -> None:
    """oldSelf inside a list that is not a map, a fieldPath to nowhere, an unknown reason."""
    items = {"type": "string", "maxLength": 5, "x-kubernetes-validations": [{"rule": "self == oldSelf"}]}
    schema: Object = {
        "type": "object",
        "properties": {"l": {"type": "array", "maxItems": 3, "items": items}},
        "x-kubernetes-validations": [{"rule": "true", "fieldPath": ".nope", "reason": "Because"}],
    }
    found = "\n".join(texts(list(check_rules(schema, "s"))))
    assert "oldSelf cannot be used on the uncorrelatable portion of the schema within s.properties[l]" in found
    assert 's.x-kubernetes-validations[0].fieldPath: Invalid value: ".nope"' in found
    assert 's.x-kubernetes-validations[0].reason: Unsupported value: "Because"' in found


def test_syntax_the_library_lacks_is_accepted_with_a_warning(schemas: Schemas) -> None:
    """Optional selection is newer CEL: the definition is served, the rule not enforced, and the user told."""
    definition = crd({**SPEC, "x-kubernetes-validations": [{"rule": "self.?max.orValue(1) > 0"}]})
    ctx = context()
    assert schemas.crd_kind().validate_create(definition, ctx) == []
    assert "not enforced" in ctx.warnings[0]


def test_escaped_names() -> None:
    """Property names as CEL identifiers (Kubernetes "Validation rules")."""
    assert [escape(n) for n in ("a-b", "a.b", "in", "a__b", "x/y", "9")] == [
        "a__dash__b", "a__dot__b", "__in__", "a__underscores__b", "x__slash__y", None,
    ]  # fmt: skip


# -- parts -------------------------------------------------------------------------------------------------


def test_pruning_and_defaults_twice_is_once() -> None:
    schema = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    obj: Object = {"spec": {"size": 1, "x": 2, "ports": [{"port": 1, "y": 1}]}, "z": 1}
    assert prune(schema, obj) == ["spec.ports[0].y", "spec.x", "z"]
    apply_defaults(schema, obj)
    again = clone(obj)
    assert prune(schema, again) == []
    apply_defaults(schema, again)
    assert again == obj
    assert to_node(schema, root=True).fields["spec"].node.fields["ports"].node.keys == ("port", "proto")


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [("ipv4", "10.0.0.1", "300.1.1.1"), ("ipv6", "::1", "10.0.0.1"), ("cidr", "10.0.0.0/8", "10.0.0.0"),
     ("date-time", "2026-01-01T00:00:00Z", "yesterday"), ("duration", "1h30m", "x"), ("byte", "YQ==", "!"),
     ("uuid", "510cddef-7f21-4635-bbd0-3eecd2077ce1", "5"), ("hostname", "a.b", "-a"), ("email", "a@b", "a")],
)  # fmt: skip
def test_formats(name: str, good: str, bad: str) -> None:
    """Known formats tell right from wrong; unknown ones are not checked."""
    assert matches_format(name, good)
    assert not matches_format(name, bad)
    assert matches_format("whatever", bad)


def test_jsonpath() -> None:
    """Names, quoted names, indexes, wildcards and filters."""
    value = {"a": {"b.c": [1, 2, {"d": 3}]}, "l": [{"n": 1}, {"n": 2}]}
    assert find(".a['b.c'][2].d", value) == [3]
    assert find(".a.b\\.c[-1].d", value) == [3]
    assert find(".l[*].n", value) == [1, 2]
    assert find(".l[?(@.n>1)].n", value) == [2]
    assert find("{.a.x}", value) == []
    assert find(".a[", value) == []


def test_openapi_documents_list_what_is_served(schemas: Schemas, widget: CustomKind) -> None:
    """Paths with the group version kind, schemas with resolved references, hashes that follow the schema."""
    status = Subresource("status", "Deployment", ("get", "patch", "update"))
    deployments = ResourceType("apps", "v1", "deployments", "deployment", "Deployment", True, subresources=(status,))
    schemas.set_types([deployments, widget.type])
    before = schemas.openapi_v3_index()["paths"]
    assert {"apis/apps", "apis/apps/v1", "apis/e.com/v1"} <= set(before)
    for path in ("apis/apps/v1", "apis/e.com/v1"):
        document = schemas.openapi_v3(path)
        assert document is not None
        _resolve(document, document["components"]["schemas"])
    patch = schemas.openapi_v3("apis/apps/v1")["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"][
        "patch"
    ]  # type: ignore[index]
    assert {"fieldValidation", "dryRun", "force"} <= {p["name"] for p in patch["parameters"]}
    assert patch["x-kubernetes-group-version-kind"] == {"group": "apps", "kind": "Deployment", "version": "v1"}
    custom = schemas.openapi_v3("apis/e.com/v1")
    assert custom is not None
    assert "spec" in custom["components"]["schemas"]["com.e.v1.Widget"]["properties"]
    assert schemas.openapi_v3("apis/nope/v1") is None
    swagger = schemas.openapi_v2()
    _resolve(swagger, swagger["definitions"])
    changed = settled(crd({"type": "object"}), [], NOW)
    assert changed is not None
    schemas.add_crd(changed)
    after = schemas.openapi_v3_index()["paths"]
    assert after["apis/e.com/v1"] != before["apis/e.com/v1"]
    assert after["apis/apps/v1"] == before["apis/apps/v1"]


def _resolve(value: Any, known: Object) -> None:
    """Every reference of the document leads somewhere."""
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            assert value["$ref"].rpartition("/")[2] in known
        for part in value.values():
            _resolve(part, known)
    elif isinstance(value, list):
        for part in value:
            _resolve(part, known)
