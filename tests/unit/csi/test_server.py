"""Sockets that newer processes take over, that come back when lost, and that leave nothing."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from grpc import aio

from csi import server as module
from csi.config import DriverConfig
from csi.errors import ConfigurationError
from csi.health import Health
from csi.identity import IdentityService
from csi.proto.csi_pb2_grpc import add_IdentityServicer_to_server
from csi.server import SocketServer, is_answered, prepare
from tests.fakes.csi_calls import plugin_version
from tests.fakes.waiting import until


class Place:
    """The directories of one driver."""

    def __init__(self, root: Path) -> None:
        self.config = DriverConfig(root / "plugins" / "csi.headrace.dev" / "csi.sock", "node-1")
        self.socket = self.config.endpoint
        self.drafts = self.config.draft_dir
        prepare(self.socket, self.drafts)

    def server(self, version: str) -> SocketServer:
        """Return a server that says it is *version*."""
        config = DriverConfig(self.socket, "node-1", version=version)

        def build() -> aio.Server:
            server = aio.server()
            add_IdentityServicer_to_server(IdentityService(config, Health()), server)
            return server

        return SocketServer(self.socket, self.drafts, build)


@pytest.fixture
def place(short_path: Path) -> Place:
    return Place(short_path)


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHECK_SECONDS", 0.05)


def play(scenario: Coroutine[Any, Any, None]) -> None:
    async def within() -> None:
        async with asyncio.timeout(30):
            await scenario

    asyncio.run(within())


def test_only_root_may_connect_and_nothing_else_lies_beside_the_socket(place: Place) -> None:
    async def scenario() -> None:
        server = place.server("1")
        await server.start()
        mode = place.socket.stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o600
        assert os.listdir(place.socket.parent) == ["csi.sock"]
        assert os.listdir(place.drafts) == []
        await server.stop(0)
        assert os.listdir(place.socket.parent) == []

    play(scenario())


def test_an_older_server_that_ends_leaves_the_newer_ones_socket(place: Place) -> None:
    async def scenario() -> None:
        old, new = place.server("old"), place.server("new")
        await old.start()
        assert await plugin_version(place.socket) == "old"
        await new.start()
        await old.stop(0)
        assert await plugin_version(place.socket) == "new"
        await new.stop(0)
        assert not place.socket.exists()

    play(scenario())


def test_an_older_server_does_not_take_the_socket_back(place: Place) -> None:
    async def scenario() -> None:
        old, new = place.server("old"), place.server("new")
        await old.start()
        watching = asyncio.create_task(old.watch())
        await new.start()
        inode = place.socket.stat().st_ino
        await asyncio.sleep(5 * module.CHECK_SECONDS)
        assert place.socket.stat().st_ino == inode
        watching.cancel()
        await new.stop(0)
        await old.stop(0)

    play(scenario())


@pytest.mark.parametrize("loss", ["removed", "replaced by a dead one"])
def test_a_server_whose_socket_is_lost_comes_back(place: Place, loss: str) -> None:
    async def scenario() -> None:
        server = place.server("1")
        await server.start()
        watching = asyncio.create_task(server.watch())
        place.socket.unlink()
        if loss != "removed":
            stale_socket(place.socket)
        await until(lambda: is_answered(place.socket))
        assert await plugin_version(place.socket) == "1"
        watching.cancel()
        await server.stop(0)
        assert not place.socket.exists()

    play(scenario())


def test_a_server_that_cannot_come_back_yet_tries_again(place: Place) -> None:
    async def scenario() -> None:
        server = place.server("1")
        await server.start()
        watching = asyncio.create_task(server.watch())
        place.drafts.rmdir()
        place.socket.unlink()
        await asyncio.sleep(3 * module.CHECK_SECONDS)
        place.drafts.mkdir()
        await until(lambda: is_answered(place.socket))
        watching.cancel()
        await server.stop(0)

    play(scenario())


def stale_socket(path: Path) -> None:
    """Leave a socket as a process does that was killed."""
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))


def test_sockets_on_which_nobody_answers_are_removed_first_thing(place: Place) -> None:
    stale_socket(place.socket)
    stale_socket(place.drafts / ".csi.sock.1234")
    prepare(place.socket, place.drafts)
    assert not place.socket.exists()
    assert os.listdir(place.drafts) == []


def test_a_socket_on_which_somebody_answers_stays_until_it_is_replaced(place: Place) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(place.socket))
        other.listen()
        prepare(place.socket, place.drafts)
        assert place.socket.exists()


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_what_is_no_socket_is_left_alone_and_named(place: Place, kind: str) -> None:
    if kind == "file":
        place.socket.write_text("precious")
    else:
        place.socket.mkdir()
    with pytest.raises(ConfigurationError, match=r"csi\.sock is there and no socket"):
        prepare(place.socket, place.drafts)
    assert place.socket.exists()


def test_a_draft_that_is_too_long_for_a_socket_is_named(tmp_path: Path) -> None:
    drafts = tmp_path / ("d" * 100)
    path = tmp_path / "csi.sock"
    prepare(path, drafts)

    async def scenario() -> None:
        with pytest.raises(ConfigurationError, match="107 bytes"):
            await SocketServer(path, drafts, aio.server).start()

    play(scenario())
