from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vfs.serving import protocol
from vfs.serving.protocol import InitFlag, MalformedRequestError, Opcode

KERNEL_FLAGS = int(protocol.WANTED_FLAGS) | 1 << 5 | 1 << 40


def request(opcode: int, body: bytes, node: int = 7, unique: int = 42) -> bytes:
    return (
        protocol.IN_HEADER.pack(
            protocol.IN_HEADER.size + len(body), opcode, unique, node, 0, 0, 0, 0, 0
        )
        + body
    )


def init(major: int = 7, minor: int = 44, flags: int = KERNEL_FLAGS) -> bytes:
    body = protocol.INIT_IN.pack(major, minor, 131072, flags & 0xFFFFFFFF, flags >> 32)
    return request(Opcode.INIT, body)


def test_the_structures_are_as_long_as_the_kernels() -> None:
    assert (protocol.IN_HEADER.size, protocol.OUT_HEADER.size) == (40, 16)
    assert (protocol.INIT_IN.size, protocol.INIT_OUT.size) == (64, 64)
    assert protocol.READ_IN.size == 40


def test_init_is_answered_with_the_flags_that_both_sides_know() -> None:
    reply = protocol.init_reply(init(), 1 << 20)
    length, error, unique = protocol.OUT_HEADER.unpack_from(reply)
    fields = protocol.INIT_OUT.unpack_from(reply, protocol.OUT_HEADER.size)
    assert (length, error, unique) == (80, 0, 42)
    assert fields[3] | fields[10] << 32 == int(protocol.WANTED_FLAGS)


def test_what_the_kernel_does_not_offer_is_not_asked_for() -> None:
    offered = int(InitFlag.ASYNC_READ | InitFlag.MAX_PAGES)
    reply = protocol.init_reply(init(flags=offered), 1 << 20)
    fields = protocol.INIT_OUT.unpack_from(reply, protocol.OUT_HEADER.size)
    assert (fields[3], fields[10]) == (offered, 0)


@pytest.mark.parametrize(("major", "minor"), [(7, 30), (6, 99)])
def test_a_kernel_that_is_too_old_is_refused(major: int, minor: int) -> None:
    with pytest.raises(MalformedRequestError, match=r"needs 7\.31"):
        protocol.init_reply(init(major, minor), 1 << 20)


def test_the_name_of_a_look_up_ends_at_its_first_nul() -> None:
    assert protocol.lookup_name(request(Opcode.LOOKUP, b"name\0")) == b"name"
    assert protocol.lookup_name(request(Opcode.LOOKUP, b"na\0me\0")) == b"na"
    assert protocol.lookup_name(request(Opcode.LOOKUP, b"\0")) == b""
    for endless in (b"name", b""):
        with pytest.raises(MalformedRequestError, match="does not end"):
            protocol.lookup_name(request(Opcode.LOOKUP, endless))


@given(st.binary(max_size=200))
def test_bytes_of_any_kind_are_a_request_or_a_protocol_error(message: bytes) -> None:
    for decode in (
        protocol.request_header,
        protocol.read_request,
        protocol.lookup_name,
        lambda data: protocol.init_reply(data, 1),
    ):
        try:
            decode(message)
        except MalformedRequestError:
            continue


def test_a_request_that_lies_about_its_length_is_refused() -> None:
    with pytest.raises(MalformedRequestError, match="says that it has"):
        protocol.request_header(request(Opcode.READ, b"12345678")[:-1])
