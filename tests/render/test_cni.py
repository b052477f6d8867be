"""CNI requests and results on the wire, for every specification version."""

from ipaddress import ip_address

import orjson
import pytest

from podloom.model.cni import (
    SPEC_VERSIONS,
    Attachment,
    CniAddress,
    CniInterface,
    CniResult,
    CniRoute,
    IncompatibleVersion,
    InvalidEnvironment,
    Undecodable,
    UnsupportedField,
)
from podloom.model.errors import Exhausted, PodloomError, Rejected
from podloom.render.cni import (
    error_version,
    parse_cni_request,
    render_error,
    render_result,
    render_versions,
    result_addresses,
)
from podloom.render.cniargs import parse_args, previous_result, wanted_addresses, wanted_dns

ENVIRONMENT = {
    "PODLOOM_PLUGIN": "azure-vnet",
    "CNI_COMMAND": "ADD",
    "CNI_CONTAINERID": "c0ffee",
    "CNI_NETNS": "/run/netns/x",
    "CNI_IFNAME": "eth0",
    "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_UID=u-1;K8S_POD_NAME=web;K8S_POD_NAMESPACE=default",
}
RESULT = CniResult(
    interfaces=(CniInterface("azv1", "aa:00", mtu=1500), CniInterface("eth0", "ae:00", "/run/netns/x", 1500)),
    addresses=(
        CniAddress(ip_address("192.168.1.5"), 32, ip_address("169.254.1.1"), 1),
        CniAddress(ip_address("fd00::5"), 128, ip_address("fe80::1"), 1),
    ),
    routes=(CniRoute("0.0.0.0/0", "169.254.1.1"), CniRoute("::/0", "fe80::1")),
)


def config(**more: object) -> bytes:
    return orjson.dumps({"cniVersion": "1.0.0", "name": "azure", "type": "azure-vnet", **more})


def parse(command: str = "ADD", stdin: bytes | None = None, **environment: str):
    return parse_cni_request(
        {**ENVIRONMENT, "CNI_COMMAND": command, **environment}, config() if stdin is None else stdin
    )


def test_add_is_read() -> None:
    """A runtime's ADD arrives with pod identity, whatever the order of CNI_ARGS."""
    request = parse()
    assert (request.command, request.version, request.network) == ("ADD", "1.0.0", "azure")
    assert (request.pod_namespace, request.pod_name, request.pod_uid) == ("default", "web", "u-1")
    assert request.attachment == Attachment("c0ffee", "eth0")


@pytest.mark.parametrize(
    ("command", "change", "error"),
    [
        ("FROB", {}, InvalidEnvironment),
        ("ADD", {"CNI_CONTAINERID": ""}, InvalidEnvironment),
        ("ADD", {"CNI_CONTAINERID": "../x"}, InvalidEnvironment),
        ("DEL", {"CNI_CONTAINERID": ""}, InvalidEnvironment),
        ("ADD", {"CNI_NETNS": ""}, InvalidEnvironment),
        ("CHECK", {"CNI_NETNS": ""}, InvalidEnvironment),
        ("ADD", {"CNI_IFNAME": ""}, InvalidEnvironment),
        ("ADD", {"CNI_IFNAME": "a/b"}, InvalidEnvironment),
        ("ADD", {"CNI_IFNAME": "sixteen-letters-"}, InvalidEnvironment),
        ("ADD", {"CNI_ARGS": "K8S_POD_NAME"}, InvalidEnvironment),
        ("ADD", {"CNI_ARGS": "K8S_POD_NAME=web;COLOUR=red"}, InvalidEnvironment),
        ("ADD", {"CNI_ARGS": "IgnoreUnknown=maybe"}, InvalidEnvironment),
        ("ADD", {"CNI_ARGS": "MAC=02:00:00:00:00:01"}, InvalidEnvironment),
        ("ADD", {"CNI_ARGS": "IP=fish"}, InvalidEnvironment),
        ("ADD", {"CNI_ARGS": "K8S_POD_NAME=w$b;K8S_POD_NAMESPACE=x"}, InvalidEnvironment),
    ],
)
def test_bad_environment_is_refused(command: str, change: dict[str, str], error: type[PodloomError]) -> None:
    """Each missing or malformed variable is CNI error 4 and names the variable."""
    with pytest.raises(error) as caught:
        parse(command, **change)
    assert caught.value.cni_code == 4
    assert "CNI_" in caught.value.message


def test_del_needs_no_namespace_and_no_pod() -> None:
    """The last DELs of a runtime come with an empty CNI_NETNS and no pod name."""
    assert parse("DEL", CNI_NETNS="", CNI_ARGS="").netns == ""
    assert parse("DEL", CNI_ARGS="rubbish").command == "DEL"


@pytest.mark.parametrize("stdin", [b"", b"{", b"[]", b'"x"'])
def test_bad_json_is_error_6(stdin: bytes) -> None:
    """What is not a JSON object is CNI error 6."""
    with pytest.raises(Undecodable) as caught:
        parse(stdin=stdin)
    assert caught.value.cni_code == 6


@pytest.mark.parametrize(
    ("command", "version", "allowed"),
    [
        *[("ADD", version, True) for version in SPEC_VERSIONS],
        ("ADD", "1.2.0", False),
        ("ADD", "banana", False),
        ("CHECK", "0.3.1", False),
        ("CHECK", "0.4.0", True),
        ("GC", "1.0.0", False),
        ("GC", "1.1.0", True),
        ("STATUS", "1.0.0", False),
        ("STATUS", "1.1.0", True),
    ],
)
def test_versions_and_verbs(command: str, version: str, allowed: bool) -> None:
    """Every version from 0.1.0 to 1.1.0 is spoken; verbs exist from the version that brought them (error 1)."""
    if allowed:
        stdin = config(**{"cniVersion": version, "cni.dev/valid-attachments": []})
        assert parse(command, stdin).version == version
        return
    with pytest.raises(IncompatibleVersion) as caught:
        parse(command, config(cniVersion=version))
    assert caught.value.cni_code == 1


def test_version_needs_nothing_else() -> None:
    """VERSION is answered without a name, with an unknown version and with an empty input."""
    for stdin in (b"", b'{"cniVersion":"9.9.9"}'):
        assert parse_cni_request({"CNI_COMMAND": "VERSION"}, stdin).command == "VERSION"
    assert orjson.loads(render_versions())["supportedVersions"] == list(SPEC_VERSIONS)


def test_gc_attachments() -> None:
    """GC carries the attachments that stay; a malformed or missing list is refused (error 7): it would end all."""
    for missing in ({}, {"cni.dev/other": []}):
        with pytest.raises(Rejected):
            parse("GC", config(cniVersion="1.1.0", **missing))
    assert parse("GC", config(**{"cniVersion": "1.1.0", "cni.dev/valid-attachments": None})).valid_attachments == ()
    stdin = config(**{"cniVersion": "1.1.0", "cni.dev/valid-attachments": [{"containerID": "a", "ifname": "eth0"}]})
    assert parse("GC", stdin).valid_attachments == (Attachment("a", "eth0"),)
    with pytest.raises(Rejected):
        parse("GC", config(**{"cniVersion": "1.1.0", "cni.dev/valid-attachments": [{"ifname": "eth0"}]}))


def test_network_name_is_required() -> None:
    """A configuration without a usable name is CNI error 7."""
    for name in ("", "-x", 5):
        with pytest.raises(Rejected) as caught:
            parse(stdin=config(name=name))
        assert caught.value.cni_code == 7


def test_result_shapes() -> None:
    """Each version gets its own spelling of the same result."""
    old = orjson.loads(render_result(RESULT, "0.2.0"))
    assert old["ip4"] == {
        "ip": "192.168.1.5/32",
        "gateway": "169.254.1.1",
        "routes": [{"dst": "0.0.0.0/0", "gw": "169.254.1.1"}],
    }
    assert old["ip6"]["routes"] == [{"dst": "::/0", "gw": "fe80::1"}]
    middle = orjson.loads(render_result(RESULT, "0.4.0"))
    assert [item["version"] for item in middle["ips"]] == ["4", "6"]
    assert middle["interfaces"][1] == {"name": "eth0", "mac": "ae:00", "sandbox": "/run/netns/x"}
    new = orjson.loads(render_result(RESULT, "1.0.0"))
    assert "version" not in new["ips"][0] and new["ips"][0]["interface"] == 1
    newest = orjson.loads(render_result(RESULT, "1.1.0"))
    assert newest["interfaces"][0]["mtu"] == 1500 and newest["cniVersion"] == "1.1.0"


@pytest.mark.parametrize("version", SPEC_VERSIONS)
def test_addresses_survive_the_round_trip(version: str) -> None:
    """A result given back as prevResult holds the addresses it was made of, in every version."""
    previous = orjson.loads(render_result(RESULT, version))
    assert result_addresses({"prevResult": previous}) == {"192.168.1.5", "fd00::5"}


def test_error_carries_the_family_s_code() -> None:
    """An error is JSON with the family's code, what was attempted, and what to do."""
    body = orjson.loads(render_error(Exhausted("allocate", "full", "delete pods"), "0.4.0"))
    assert body == {"cniVersion": "0.4.0", "code": 11, "msg": "allocate", "details": "full; delete pods"}


def test_args_of_other_runtimes() -> None:
    """podman and ctr give fewer arguments or none; trailing separators do no harm."""
    assert parse_args("") == {}
    assert parse_args("IgnoreUnknown=1;K8S_POD_NAME=a=b;") == {"IgnoreUnknown": "1", "K8S_POD_NAME": "a=b"}


def test_runtimes_without_kubernetes() -> None:
    """podman names no namespace, `ctr run --cni` nothing at all: the container's id is the name then."""
    request = parse(CNI_ARGS="")
    assert (request.pod_namespace, request.pod_name, request.pod_uid) == ("", "c0ffee", "")
    request = parse(CNI_ARGS="IgnoreUnknown=1;K8S_POD_NAME=web;K8S_POD_INFRA_CONTAINER_ID=c0ffee;COLOUR=red")
    assert (request.pod_namespace, request.pod_name) == ("", "web")


@pytest.mark.parametrize("name", ["web-0.a_b(1) x", "", "9"])
def test_pod_names_of_every_allowed_character(name: str) -> None:
    """The characters azure-vnet allows in names, and no name, are taken as they come."""
    assert parse(CNI_ARGS=f"K8S_POD_NAME={name}").pod_name == (name or "c0ffee")


def test_runtime_config() -> None:
    """Addresses and DNS are read; port mappings are another plugin's; the rest is error 2 by name and value."""
    asked = {"ips": ["192.168.1.9/24", "fd00::9"], "dns": {"servers": ["1.1.1.1"]}, "portMappings": [{"hostPort": 1}]}
    request = parse(stdin=config(runtimeConfig=asked))
    assert request.wanted == (ip_address("192.168.1.9"), ip_address("fd00::9"))
    dns = {"nameservers": ["10.0.0.10"], "domain": "x", "search": ["a"]}
    assert wanted_dns({"dns": dns, "runtimeConfig": asked}) == {**dns, "nameservers": ["1.1.1.1"]}
    assert parse(CNI_ARGS="IP=192.168.1.7,fd00::7").wanted == (ip_address("192.168.1.7"), ip_address("fd00::7"))
    assert wanted_addresses({"IP": "1.2.3.4"}, {"runtimeConfig": {"ips": ["1.2.3.5"]}}) == (ip_address("1.2.3.5"),)
    for key, value in {"mac": "02:00:00:00:00:01", "bandwidth": {"ingressRate": 1}, "deviceID": "x"}.items():
        with pytest.raises(UnsupportedField) as caught:
            parse(stdin=config(runtimeConfig={key: value}))
        assert caught.value.cni_code == 2 and key in caught.value.found
        assert orjson.dumps(value).decode() in caught.value.found
    assert parse(stdin=config(runtimeConfig={"mac": "", "bandwidth": {"ingressRate": 0}})).wanted == ()


@pytest.mark.parametrize("asked", [5, {"ips": "1.2.3.4"}, {"ips": [5]}, {"ips": ["fish"]}])
def test_malformed_runtime_config_is_error_7(asked: object) -> None:
    """A runtimeConfig of another shape is CNI error 7."""
    with pytest.raises(Rejected) as caught:
        parse(stdin=config(runtimeConfig=asked))
    assert caught.value.cni_code == 7 and "runtimeConfig" in caught.value.found


@pytest.mark.parametrize("previous", [5, [1], {"ips": 5}, {"ips": ["x"]}, {"ip4": 5}, {"interfaces": [{}]}])
def test_malformed_prev_result_is_error_7(previous: object) -> None:
    """A prevResult of another shape is refused, not stumbled over."""
    with pytest.raises(Rejected):
        previous_result({"prevResult": previous})


def test_errors_are_spelled_in_the_configuration_s_version() -> None:
    """An error carries the version asked for where that is one of ours."""
    assert error_version(config(cniVersion="0.3.1")) == "0.3.1"
    assert {error_version(item) for item in (b"", b"[]", b"{}", config(cniVersion="9.9.9"))} == {"1.0.0"}
