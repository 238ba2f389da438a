"""Messages survive the round trip; anything else is refused."""

from __future__ import annotations

from contextlib import suppress

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachesvc.errors import CacheServiceError, ObjectChangedError
from cachesvc.wire import (
    Announce,
    Ask,
    Attach,
    Carried,
    Chunks,
    Failed,
    Fill,
    Filled,
    FrameBuffer,
    Hello,
    Message,
    Plan,
    Prefetch,
    Progress,
    ProtocolError,
    Reject,
    Told,
    Touch,
    Welcome,
    Withdraw,
    decode,
    encode,
    error_of,
    failure_of,
)

CHUNKS = Chunks(0, "a/\udcff", 10, None, 4096, [0, 2], [2**64 - 1, None])
FILL = Fill(7, CHUNKS, carry=False)
MESSAGES: list[Message] = [
    Hello(1),
    Welcome(1, b"generation", "/cache", 42),
    Attach(0, {"url": "file:///x", "options": {}}, 60.0),
    FILL,
    Prefetch(Chunks(0, "key", 10, "etag", 4096, [0], [])),
    Reject(8, CHUNKS),
    Plan(1, 1 << 30, 0),
    Announce(1, b"x" * 24, b"packed", is_last=False),
    Withdraw(),
    Progress(1, 2, 3, 4, 5, "filling", ["StoreError", "text"]),
    Touch([b"x" * 24]),
    Ask(1, "stats"),
    Carried(7, 2, b"bytes"),
    Filled(7, b"generation"),
    Failed(7, "StoreError", "text"),
    Told(1, {"answer": 1}),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_survives_the_round_trip(message: Message) -> None:
    (body,) = FrameBuffer(1 << 20).feed(encode(message))
    assert decode(body) == message


@given(st.lists(st.integers(1, 40), max_size=30))
def test_frames_are_found_however_the_stream_is_cut(cuts: list[int]) -> None:
    stream = b"".join(map(encode, MESSAGES))
    buffer = FrameBuffer(1 << 20)
    bodies = []
    for cut in cuts:
        bodies += buffer.feed(stream[:cut])
        stream = stream[cut:]
    bodies += buffer.feed(stream)
    assert list(map(decode, bodies)) == MESSAGES


def test_a_frame_that_is_too_large_is_refused_before_it_arrives() -> None:
    with pytest.raises(ProtocolError, match="at most 10"):
        FrameBuffer(10).feed(encode(FILL)[:4])


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_an_error(body: bytes) -> None:
    with suppress(ProtocolError):
        decode(body)


@pytest.mark.parametrize(
    "fields",
    [[], ["x"], [99], [1], [1, "x"], [1, 1, 1], [4, *FILL[:-1]], [5, 7], [5, [1]], {"a": 1}, 7],
)
def test_what_is_no_message_is_refused(fields: object) -> None:
    with pytest.raises(ProtocolError):
        decode(msgpack.packb(fields, unicode_errors="surrogateescape"))


def test_an_error_keeps_its_class_and_text() -> None:
    error = error_of(failure_of(7, ObjectChangedError("key: changed")))
    assert (type(error), str(error)) == (ObjectChangedError, "key: changed")


@pytest.mark.parametrize("name", ["NoSuchError", "annotations", "__doc__"])
def test_an_unknown_error_is_one_of_the_service(name: str) -> None:
    error = error_of(Failed(7, name, "text"))
    assert (type(error), str(error)) == (CacheServiceError, f"{name}: text")
