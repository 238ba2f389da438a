"""Work in the background and servers in front: what ends what, and in which order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, cast

import pytest

from csi.errors import UnavailableError
from csi.health import Health
from csi.process import background, run, serve
from csi.server import SocketServer


def play(scenario: Coroutine[Any, Any, None]) -> None:
    async def within() -> None:
        async with asyncio.timeout(10):
            await scenario

    asyncio.run(within())


async def for_ever() -> None:
    await asyncio.Event().wait()


async def fail() -> None:
    raise UnavailableError("no disk")


def test_work_in_the_background_ends_with_its_block() -> None:
    async def scenario() -> None:
        before = asyncio.all_tasks()
        async with background([for_ever(), for_ever()]):
            assert len(asyncio.all_tasks()) == len(before) + 2
        assert asyncio.all_tasks() == before

    play(scenario())


def test_work_that_fails_ends_the_block_as_itself() -> None:
    async def scenario() -> None:
        with pytest.raises(UnavailableError, match="no disk"):
            async with background([for_ever(), fail()]):
                await for_ever()

    play(scenario())


def test_a_block_that_fails_raises_what_it_raised() -> None:
    async def scenario() -> None:
        with pytest.raises(KeyError):
            async with background([for_ever()]):
                raise KeyError("x")

    play(scenario())


def test_what_fails_beside_the_first_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        with pytest.raises(UnavailableError):
            async with background([fail(), fail()]):
                await for_ever()

    play(scenario())
    assert caplog.messages == ["failed as well"]


class Server:
    """Writes down what happens to it."""

    def __init__(self, name: str, said: list[str], health: Health) -> None:
        self._name = name
        self._said = said
        self._health = health

    async def start(self) -> None:
        self._said.append(f"start {self._name} {self._health.is_ready()}")

    async def watch(self) -> None:
        await for_ever()

    async def stop(self, _grace_seconds: float) -> None:
        self._said.append(f"stop {self._name} {self._health.is_ready()}")


def test_servers_start_in_order_and_stop_in_the_other() -> None:
    said: list[str] = []

    async def scenario() -> None:
        health, stop = Health(), asyncio.Event()
        servers = [cast("SocketServer", Server(name, said, health)) for name in "ab"]
        serving = asyncio.create_task(serve(servers, health, stop.wait()))
        while not health.is_ready():  # noqa: ASYNC110  told by nobody
            await asyncio.sleep(0)
        stop.set()
        await serving

    play(scenario())
    assert said == ["start a False", "start b False", "stop b False", "stop a False"]


def test_a_failure_that_nobody_foresaw_is_logged_and_ends_the_process(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("csi.process.log_to_stderr", lambda _level: None)

    async def main() -> None:
        raise ZeroDivisionError("a bug")

    with pytest.raises(SystemExit) as end:
        run(main(), "info")
    assert end.value.code == 1
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.exc_info is not None


def test_a_failure_that_has_a_name_is_left_to_the_command_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("csi.process.log_to_stderr", lambda _level: None)
    with pytest.raises(UnavailableError):
        run(fail(), "info")
