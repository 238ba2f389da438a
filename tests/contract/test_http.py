"""A plain HTTP server as a source: its listings tell names and nothing else."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import anyio
import pytest

from cachesvc.errors import ObjectChangedError
from cachesvc.objectstore.open import open_store
from cachesvc.objectstore.origin import parse_origin
from cachesvc.objectstore.protocol import ObjectInfo, ObjectStore
from tests.contract.conftest import Play, play_on

MTIME_SECONDS = 1_700_000_000


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves files, and writes no log."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def served(tmp_path: Path) -> Path:
    """A directory with two files."""
    for name, data in (("a", b"12345"), ("b", b"")):
        (tmp_path / name).write_bytes(data)
        os.utime(tmp_path / name, (MTIME_SECONDS, MTIME_SECONDS))
    return tmp_path


@pytest.fixture
def play_http(served: Path) -> Iterator[Play]:
    """Plays a scenario on a store that an HTTP server has."""
    with ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(QuietHandler, directory=str(served))
    ) as server:
        threading.Thread(target=server.serve_forever).start()
        yield play_on(lambda: open_store(parse_origin(f"http://127.0.0.1:{server.server_port}/")))
        server.shutdown()


async def listed(store: ObjectStore) -> list[ObjectInfo]:
    """Return all objects of a store."""
    return [info async for batch in store.list() for info in batch]


def test_files_have_their_size_and_version_though_listings_tell_neither(play_http: Play) -> None:
    async def scenario(store: ObjectStore) -> None:
        found = await listed(store)
        version = str(MTIME_SECONDS * 10**9)
        assert found == [
            ObjectInfo("a", 5, version, MTIME_SECONDS * 10**9),
            ObjectInfo("b", 0, version, MTIME_SECONDS * 10**9),
        ]
        assert await store.get_range("a", 0, 5, version) == b"12345"

    play_http(scenario)


def test_a_file_that_changed_is_noticed(play_http: Play, served: Path) -> None:
    async def scenario(store: ObjectStore) -> None:
        before = (await listed(store))[0]
        await anyio.Path(served / "a").write_bytes(b"54321")
        with pytest.raises(ObjectChangedError):
            await store.get_range("a", 0, 5, before.version)

    play_http(scenario)
