from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from vfs.mounting import wire
from vfs.mounting.wire import MAX_DESCRIPTORS, MAX_MESSAGE_SIZE, Message, WireError

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = wire.pair()
    with ours, theirs:
        yield ours, theirs


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_message_arrives_with_its_descriptors(pair: Pair) -> None:
    ours, theirs = pair
    reader, writer = os.pipe()
    wire.send(ours, Message("put", {"key": "k", "record": "x" * 100_000}, (writer,)))
    wire.send(ours, Message("drop", {"key": "k"}))
    os.close(writer)
    first, second = wire.receive(theirs), wire.receive(theirs)
    assert first is not None
    assert (first.kind, first.fields["key"]) == ("put", "k")
    (copy,) = first.descriptors
    assert not os.get_inheritable(copy)
    os.write(copy, b"through")
    assert os.read(reader, 100) == b"through"
    assert second == Message("drop", {"key": "k"})
    os.close(reader)
    first.close()


def test_what_was_sent_arrives_when_the_sender_is_gone(pair: Pair) -> None:
    ours, theirs = pair
    wire.send(ours, Message("put"))
    ours.close()
    assert wire.receive(theirs) == Message("put")
    assert wire.receive(theirs) is None


@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b"[]",
        b"{}",
        b"\xff",
        json.dumps({"version": 99, "kind": "put", "fields": {}}).encode(),
        b"x" * (MAX_MESSAGE_SIZE + 1),
    ],
    ids=["broken", "a list", "empty", "no text", "another version", "too long"],
)
def test_what_is_no_message_is_refused_and_leaves_no_descriptor(pair: Pair, data: bytes) -> None:
    ours, theirs = pair
    before = open_descriptors()
    socket.send_fds(ours, [data], [0, 1])
    with pytest.raises(WireError):
        wire.receive(theirs)
    assert open_descriptors() == before


def test_too_many_descriptors_are_refused_and_closed(pair: Pair) -> None:
    ours, theirs = pair
    before = open_descriptors()
    wire.send(ours, Message("put", {}, (0,) * (MAX_DESCRIPTORS + 3)))
    with pytest.raises(WireError):
        wire.receive(theirs)
    assert open_descriptors() == before


def test_a_message_that_is_too_large_is_not_sent(pair: Pair) -> None:
    with pytest.raises(WireError, match="too large"):
        wire.send(pair[0], Message("put", {"record": "x" * MAX_MESSAGE_SIZE}))


def test_a_listener_takes_the_place_of_another_and_is_known_by_its_pid(tmp_path: Path) -> None:
    long = tmp_path / ("d" * 120)
    long.mkdir()
    path = long / "socket"
    with wire.listen(path), wire.listen(path) as listener, wire.connect(path) as caller:
        assert wire.peer_pid(caller) == os.getpid()
        assert path.stat().st_mode & 0o777 == 0o600
        accepted, _ = listener.accept()
        with accepted:
            wire.send(caller, Message("hello"))
            assert wire.receive(accepted) == Message("hello")
    assert [entry.name for entry in long.iterdir()] == ["socket"]
