"""Every engine, each on a real server or directory."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import pytest

from cachesvc.objectstore.open import open_store
from cachesvc.objectstore.origin import ENGINES, Origin, parse_origin
from cachesvc.objectstore.protocol import ObjectStore
from tests.fakes.memory_store import MemoryStore
from tests.seaweed import SeaweedServer

Scenario = Callable[[ObjectStore], Awaitable[None]]
Play = Callable[[Scenario], None]

S3_ENGINES = [engine for engine in ENGINES if engine != "auto"]


def play_on(make: Callable[[], ObjectStore]) -> Play:
    """Return a function that runs a scenario on a freshly opened store, and closes it."""

    async def run(scenario: Scenario) -> None:
        store = make()
        try:
            await scenario(store)
        finally:
            await store.aclose()

    return lambda scenario: anyio.run(run, scenario, backend="asyncio")


def s3_origin(server: SeaweedServer, url: str, engine: str) -> Origin:
    """Return an origin on the test server, asked with one engine."""
    return parse_origin(url, {"engine": engine}, server.environ)


@pytest.fixture(params=["memory", "local", *S3_ENGINES])
def play(request: pytest.FixtureRequest, tmp_path: Path) -> Play:
    """Plays a scenario on a store that knows conditional writes."""
    match request.param:
        case "memory":
            return play_on(MemoryStore)
        case "local":
            return play_on(lambda: open_store(parse_origin(str(tmp_path / "data"))))
        case engine:
            server = request.getfixturevalue("s3_server")
            url = request.getfixturevalue("s3_url")
            return play_on(lambda: open_store(s3_origin(server, url, engine)))


@pytest.fixture(params=["memory", "local", *S3_ENGINES, "other fsspec"])
def play_any(request: pytest.FixtureRequest, tmp_path: Path) -> Play:
    """Plays a scenario on any store, also one without conditional writes."""
    match request.param:
        case "memory":
            return play_on(MemoryStore)
        case "local":
            return play_on(lambda: open_store(parse_origin(str(tmp_path / "data"))))
        case "other fsspec":
            return play_on(lambda: open_store(parse_origin(f"memory://{tmp_path}")))
        case engine:
            server = request.getfixturevalue("s3_server")
            url = request.getfixturevalue("s3_url")
            return play_on(lambda: open_store(s3_origin(server, url, engine)))
