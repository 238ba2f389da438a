"""One connection of a trio process to another."""

from __future__ import annotations

import os
from functools import partial

import trio
import trio.testing

from vfs.mounting import wire
from vfs.mounting.link import Link

MANY = 600
LONG = "x" * 4000


def test_more_than_a_socket_holds_is_delivered_by_several_tasks_to_a_slow_reader() -> None:
    async def play() -> list[int]:
        ours, theirs = map(Link, wire.pair())
        heard = []
        async with trio.open_nursery() as nursery:
            for number in range(MANY):
                nursery.start_soon(partial(ours.deliver, "kept", (1,), number=number, text=LONG))
            for _ in range(MANY):
                message = await theirs.receive()
                assert message is not None
                message.close()
                heard.append(message.fields["number"])
        ours.close()
        theirs.close()
        return heard

    assert sorted(trio.run(play)) == list(range(MANY))


def test_a_message_to_a_peer_that_leaves_is_not_delivered_and_nobody_waits() -> None:
    async def play() -> list[bool]:
        ours, theirs = map(Link, wire.pair())
        delivered: list[bool] = []

        async def deliver() -> None:
            while not delivered or delivered[-1]:
                delivered.append(await ours.deliver("status", text=LONG))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(deliver)
            await trio.testing.wait_all_tasks_blocked()
            theirs.close()
        ours.close()
        return delivered

    assert trio.run(play)[-1] is False


def test_a_link_that_is_closed_lets_a_waiting_sender_go() -> None:
    async def play() -> bool:
        ours, theirs = map(Link, wire.pair())
        while ours.send("status", text=LONG):
            pass
        async with trio.open_nursery() as nursery:

            async def close() -> None:
                await trio.testing.wait_all_tasks_blocked()
                ours.close()

            nursery.start_soon(close)
            delivered = await ours.deliver("status", text=LONG)
        theirs.close()
        return delivered

    before = len(os.listdir("/proc/self/fd"))
    assert trio.run(play) is False
    assert len(os.listdir("/proc/self/fd")) == before
