from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest

from csi.errors import UnavailableError
from csi.link import Link, connect
from vfs.mounting import wire
from vfs.mounting.wire import Message


def linked() -> tuple[Link, socket.socket]:
    ours, theirs = wire.pair()
    return Link(ours), theirs


def test_a_message_and_its_descriptors_go_across() -> None:
    link, peer = linked()
    reader, writer = os.pipe()
    with peer:
        asyncio.run(link.send("mount", (reader,), record="x"))
        message = wire.receive(peer)
        assert message is not None
        assert (message.kind, message.fields) == ("mount", {"record": "x"})
        os.write(writer, b"through")
        assert os.read(message.descriptors[0], 10) == b"through"
        message.close()
    for descriptor in (reader, writer):
        os.close(descriptor)
    link.close()


def test_who_waits_is_woken_by_a_message_and_by_the_end() -> None:
    link, peer = linked()

    async def scenario() -> list[str | None]:
        waiting = asyncio.create_task(link.receive())
        await asyncio.sleep(0)
        wire.send(peer, Message("status"))
        first = await waiting
        ending = asyncio.create_task(link.receive())
        await asyncio.sleep(0)
        peer.close()
        second = await ending
        return [message.kind if message else None for message in (first, second)]

    assert asyncio.run(scenario()) == ["status", None]
    link.close()


def test_nonsense_ends_the_connection_and_not_the_process() -> None:
    link, peer = linked()
    with peer:
        peer.send(b"no json")
        assert asyncio.run(link.receive()) is None
    link.close()


def test_sending_waits_for_a_peer_that_is_slow_and_keeps_the_order() -> None:
    link, peer = linked()
    count = 200

    async def scenario() -> list[int]:
        loop = asyncio.get_running_loop()

        async def send(number: int) -> None:
            await link.send("offer", number=number, padding="x" * 20_000)

        sending = [asyncio.create_task(send(number)) for number in range(count)]
        received: list[int] = []
        while len(received) < count:
            message = await loop.run_in_executor(None, wire.receive, peer)
            assert message is not None
            received.append(message.fields["number"])
        await asyncio.gather(*sending)
        return received

    with peer:
        assert asyncio.run(scenario()) == list(range(count))
    link.close()


def test_a_peer_that_is_gone_is_unavailable() -> None:
    link, peer = linked()
    peer.close()
    with pytest.raises(UnavailableError, match="offer"):
        asyncio.run(link.send("offer"))
    link.close()


def test_where_nobody_listens_the_error_says_where_to_look(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="is its pod running"):
        connect(tmp_path / "supervisor")
