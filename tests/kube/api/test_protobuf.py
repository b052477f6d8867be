"""Protobuf bodies: the field table is that of the published types, and bodies decode to JSON's objects."""

from __future__ import annotations

import json
import shutil
import sys
from importlib import resources
from pathlib import Path

import pytest

from podloom.kube.api import protobuf

sys.path.insert(0, str(Path(__file__).parent))


def _field(number: int, data: bytes) -> bytes:
    return bytes([number << 3 | 2, len(data)]) + data


def test_config_map() -> None:
    """What kubectl sends for `create configmap a --from-literal=x=1`."""
    body = bytes.fromhex(
        "6b3873000a0f0a0276311209436f6e6669674d6170121b0a110a016112001a0022002a0032003800420012060a01781201311a002200"
    )
    obj = protobuf.decode(body)
    assert (obj["kind"], obj["apiVersion"], obj["metadata"]["name"]) == ("ConfigMap", "v1", "a")
    assert obj["data"] == {"x": "1"}
    assert "creationTimestamp" not in obj["metadata"]


def test_inlined_members_rise() -> None:
    """A member that Go embeds (volumeSource) appears one level higher, as in JSON."""
    reference = _field(1, b"cm")  # LocalObjectReference.name
    config_map = _field(1, reference)  # ConfigMapVolumeSource.localObjectReference
    volume = _field(1, b"v") + _field(2, bytes([19 << 3 & 0x7F | 0x80 | 2, 1]) + bytes([len(config_map)]) + config_map)
    pod = _field(2, _field(1, volume))
    unknown = _field(1, _field(1, b"v1") + _field(2, b"Pod")) + _field(2, pod)
    assert protobuf.decode(b"k8s\x00" + unknown)["spec"]["volumes"] == [{"name": "v", "configMap": {"name": "cm"}}]


@pytest.mark.parametrize("body", [b"", b"{}", b"k8s\x00\xff", b"k8s\x00" + _field(1, _field(2, b"Nope"))])
def test_other_bytes_are_refused(body: bytes) -> None:
    """Anything else is a ValueError, never a crash."""
    with pytest.raises(ValueError):
        protobuf.decode(body)


def test_table_is_that_of_the_client() -> None:
    """protobuf.json equals the descriptors inside the installed kubectl, for messages both know."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("no kubectl to read descriptors from")
    from wire_facts import table

    found = table(Path(kubectl))
    if not found:
        pytest.skip("this kubectl holds no gogo descriptors")
    stored = json.loads(resources.files("podloom.kube.api").joinpath("protobuf.json").read_text())
    shared = found.keys() & stored.keys()
    assert len(shared) > 400
    for message in shared:
        both = found[message].keys() & stored[message].keys()
        assert {n: found[message][n] for n in both} == {n: stored[message][n] for n in both}, message
