"""Message types of gRPC services, read from the executable that serves them.

The problem: CRI is spoken in protobuf and its .proto belongs to others. But every Go server carries its own
descriptors: gogo-protobuf stores each as a gzipped FileDescriptorProto, google.golang.org/protobuf as plain bytes.
Reading them from the installed containerd gives exactly the messages this containerd knows, whatever its version.
"""

from __future__ import annotations

import mmap
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf import (
    any_pb2,
    descriptor_pb2,
    descriptor_pool,
    empty_pb2,
    message,
    message_factory,
    timestamp_pb2,
)

from podloom.model.errors import Unsupported

# gzip header as Go's compress/gzip writes it: no name, no time; extra flags 0, 2 or 4; OS unknown (255).
_GZIP = re.compile(rb"\x1f\x8b\x08\x00\x00\x00\x00\x00[\x00\x02\x04]\xff")
_SYNTAX_PROTO3 = b"b\x06proto3"  # field 12, the last a Go descriptor holds
_BYTES_MAX = 1 << 20


def _gzipped(image: mmap.mmap) -> Iterator[bytes]:
    for start in [match.start() for match in _GZIP.finditer(image)]:
        try:
            yield zlib.decompressobj(31).decompress(image[start : start + _BYTES_MAX])
        except zlib.error:
            continue


def _plain(image: mmap.mmap, package: str) -> Iterator[bytes]:
    """Descriptors stored uncompressed: name (field 1), package (field 2), ..., syntax (field 12)."""
    encoded = package.encode()
    pattern = re.compile(rb"\n[\x08-\x7f][\x20-\x7e]{2,120}\.proto\x12" + re.escape(bytes([len(encoded)]) + encoded))
    for start in [match.start() for match in pattern.finditer(image)]:
        end = image.find(_SYNTAX_PROTO3, start, start + _BYTES_MAX)
        if end > 0:
            yield image[start : end + len(_SYNTAX_PROTO3)]


def _parse(data: bytes, package: str, name: str) -> descriptor_pb2.FileDescriptorProto | None:
    if package.encode() not in data[:300]:
        return None
    try:
        file = descriptor_pb2.FileDescriptorProto.FromString(data)
    except message.DecodeError:
        return None
    declared = [service.name for service in file.service] + [one.name for one in file.message_type]
    if file.package != package or name not in declared:
        return None
    return file


def read_descriptor(executable: Path, full_name: str) -> descriptor_pb2.FileDescriptorProto | None:
    """The file that declares the service or message `full_name`, or None. About 20 ms for a 50 MB executable."""
    package, _, name = full_name.rpartition(".")
    with executable.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as image:
        for source in (_gzipped(image), _plain(image, package)):
            for data in source:
                found = _parse(data, package, name)
                if found is not None:
                    return found
    return None


class Messages:
    """Message classes of the services and messages asked for, from one executable, in a pool of their own."""

    def __init__(self, executable: Path, *full_names: str) -> None:
        self._pool = descriptor_pool.DescriptorPool()
        for known in (any_pb2, empty_pb2, timestamp_pb2):
            self._pool.AddSerializedFile(known.DESCRIPTOR.serialized_pb)
        for full_name in full_names:
            file = read_descriptor(executable, full_name)
            if file is None:
                raise Unsupported(
                    f"read the messages of {full_name}",
                    f"{executable} carries no such descriptor",
                    "use containerd 1.6 or newer",
                )
            self._add(file, full_name)

    def _add(self, file: descriptor_pb2.FileDescriptorProto, full_name: str) -> None:
        """Options of other generators (gogoproto) do not change the wire: their files are not needed."""
        kept = [name for name in file.dependency if name.startswith("google/protobuf/")]
        for listed in ("dependency", "public_dependency", "weak_dependency"):
            file.ClearField(listed)
        file.dependency.extend(name for name in kept if name != "google/protobuf/descriptor.proto")
        alone = [one for one in file.message_type if f"{file.package}.{one.name}" == full_name]
        if alone:  # asked for one message: its neighbours may need files we do not have
            kept_message = descriptor_pb2.DescriptorProto()
            kept_message.CopyFrom(alone[0])
            file.ClearField("message_type")
            file.message_type.append(kept_message)
        file.name = f"{full_name}.proto"
        try:
            self._pool.AddSerializedFile(file.SerializeToString())
        except TypeError as e:
            text = f"its descriptor needs files that are not loaded: {e}"
            raise Unsupported(f"read the messages of {full_name}", text) from e

    def get(self, full_name: str) -> Any:
        """The class of a message, e.g. runtime.v1.PodSandboxConfig; KeyError when this version lacks it."""
        return message_factory.GetMessageClass(self._pool.FindMessageTypeByName(full_name))

    def method(self, service: str, name: str) -> tuple[Any, Any]:
        """(request class, response class) of a service's method; KeyError when this version lacks it."""
        found = self._pool.FindServiceByName(service).methods_by_name[name]
        return message_factory.GetMessageClass(found.input_type), message_factory.GetMessageClass(found.output_type)
