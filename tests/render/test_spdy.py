"""SPDY/3.1 and websocket frames: what is packed comes out again, whatever the pieces."""

from __future__ import annotations

import contextlib
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podloom.model.errors import Rejected
from podloom.render import spdy
from podloom.render.websocket import (
    Message,
    Opcode,
    Unpacker,
    accept_key,
    mask_bytes,
    pack_channel,
    pack_message,
    parse_channel,
)

streams = st.integers(1, (1 << 31) - 1)
words = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20).map(str.lower)
headers = st.dictionaries(words, st.text(max_size=40), max_size=5)
numbers = st.integers(0, (1 << 32) - 1)
frames = st.one_of(
    st.builds(spdy.SynStream, streams, headers, st.booleans(), st.integers(0, 7)),
    st.builds(spdy.SynReply, streams, headers, st.booleans()),
    st.builds(spdy.MoreHeaders, streams, headers, st.booleans()),
    st.builds(spdy.Data, streams, st.binary(max_size=200), st.booleans()),
    st.builds(spdy.Reset, streams, numbers),
    st.builds(spdy.Ping, numbers),
    st.builds(spdy.GoAway, streams, numbers),
    st.builds(spdy.WindowUpdate, streams, st.integers(0, (1 << 31) - 1)),
    st.builds(
        spdy.Settings,
        st.lists(st.tuples(st.integers(0, (1 << 24) - 1), st.integers(0, 255), numbers), max_size=4).map(tuple),
    ),
)


def _pieces(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


@given(st.lists(frames, max_size=8), st.integers(1, 50))
def test_spdy_round_trip(sent: list[spdy.Frame], size: int) -> None:
    """Any sequence of frames survives packing and unpacking in pieces of any size, with shared zlib state."""
    packer, unpacker = spdy.Packer(), spdy.Unpacker()
    data = b"".join(packer.pack(frame) for frame in sent)
    got = [frame for piece in _pieces(data, size) for frame in unpacker.feed(piece)]
    assert got == sent


def test_the_dictionary_is_the_drafts() -> None:
    """1423 bytes whose Adler-32 is the dictionary id that zlib streams of SPDY/3 carry."""
    assert len(spdy.DICTIONARY) == 1423
    assert zlib.adler32(spdy.DICTIONARY) == 0xE3C6A7C2


def test_spdy_refuses_other_versions() -> None:
    with pytest.raises(Rejected):
        list(spdy.Unpacker().feed(b"\x80\x02\x00\x01\x00\x00\x00\x00"))


@given(st.binary(max_size=200))
def test_spdy_garbage_is_refused_or_waits(data: bytes) -> None:
    """Arbitrary bytes never raise anything but Rejected."""
    with contextlib.suppress(Rejected):
        list(spdy.Unpacker().feed(data))


@given(
    st.lists(st.tuples(st.sampled_from(list(Opcode)[1:]), st.binary(max_size=300)), max_size=6),
    st.integers(1, 64),
    st.booleans(),
)
def test_websocket_round_trip(sent: list[tuple[Opcode, bytes]], size: int, masked: bool) -> None:
    """Messages survive, masked or not, in pieces of any size."""
    data = b"".join(pack_message(opcode, payload, b"\x01\xfe\x80\x33" if masked else b"") for opcode, payload in sent)
    unpacker = Unpacker()
    got = [message for piece in _pieces(data, size) for message in unpacker.feed(piece)]
    assert got == [Message(opcode, payload) for opcode, payload in sent]


@given(st.binary(max_size=70000), st.binary(min_size=4, max_size=4))
def test_masking_is_its_own_inverse(payload: bytes, mask: bytes) -> None:
    assert mask_bytes(mask_bytes(payload, mask), mask) == payload


def test_websocket_fragments_join() -> None:
    unpacker = Unpacker()
    first, last = bytearray(pack_message(Opcode.BINARY, b"ab")), bytearray(pack_message(Opcode.BINARY, b"cd"))
    first[0] &= 0x7F
    last[0] = 0x80
    ping = pack_message(Opcode.PING, b"!")
    got = list(unpacker.feed(bytes(first) + ping + bytes(last)))
    assert got == [Message(Opcode.PING, b"!"), Message(Opcode.BINARY, b"abcd")]


def test_accept_key() -> None:
    """The example of RFC 6455, 1.3."""
    assert accept_key("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@given(st.integers(0, 255), st.binary(max_size=20))
def test_channels(channel: int, data: bytes) -> None:
    assert parse_channel(pack_channel(channel, data)) == (channel, data)
