"""Published datasets on one machine, and filesystems of them that are closed in the end."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bench.upload import upload
from tests.node import Node, new_node
from tests.seaweed import SeaweedServer
from vfs.inprocess.filesystem import HeadraceFileSystem
from vfs.inprocess.opened import close_all

MIB = 1 << 20
NAMES = {
    "empty": 0,
    "small": 700,
    "sub/one": 110_000,
    "sub/two": 64 * 1024,
    "sub/deep/er/three": 4096,
    "large": 9 * MIB + 77,
}


class Desk:
    """A person's machine, who opens datasets in process."""

    def __init__(self, node: Node) -> None:
        self.node = node

    def publish(self, source: Path | str, *words: str) -> str:
        """Publish *source* and return the snapshot's id."""
        return self.node.snapshot(source, *words)

    def open(self, source: Path | str, **settings: Any) -> HeadraceFileSystem:  # noqa: ANN401
        """Open a published source; no other test has the same filesystem."""
        settings = {"cache_dir": self.node.cache, **settings}
        return HeadraceFileSystem(str(source), skip_instance_cache=True, **settings)


@contextmanager
def new_desk() -> Iterator[Desk]:
    """A machine for the length of a block, which must leave nothing behind."""
    with new_node() as node:
        desk = Desk(node)
        try:
            yield desk
        finally:
            close_all()  # who is connected would start the cache service again


@pytest.fixture(scope="session")
def desk() -> Iterator[Desk]:
    """A machine that all tests may use, none may harm."""
    with new_desk() as made:
        yield made


@pytest.fixture
def lonely_desk() -> Iterator[Desk]:
    """A machine of this test's own."""
    with new_desk() as made:
        yield made


def fill(source: Path, seed: int = 5) -> Path:
    """Write some files of all sizes and return their directory."""
    chance = random.Random(seed)
    for name, size in NAMES.items():
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(chance.randbytes(size))
    return source


@pytest.fixture(scope="session")
def source(desk: Desk) -> Path:
    """A published directory."""
    made = fill(desk.node.directory / "source")
    desk.publish(made)
    return made


@pytest.fixture(scope="session")
def fs(desk: Desk, source: Path) -> HeadraceFileSystem:
    """The published directory, in process."""
    return desk.open(source)


@pytest.fixture(scope="session")
def s3_fs(desk: Desk, source: Path, s3_server: SeaweedServer) -> HeadraceFileSystem:
    """The same files in a bucket, in process."""
    url = s3_server.url("inprocess/source")
    upload(source, list(NAMES), url, s3_server.environ)
    desk.node.environment.update(s3_server.environ)
    desk.publish(url)
    return desk.open(f"{url}@main", storage_options=s3_options(s3_server))


def s3_options(server: SeaweedServer) -> dict[str, str]:
    """Return what a person would give as storage options."""
    names = {"key": "AWS_ACCESS_KEY_ID", "secret": "AWS_SECRET_ACCESS_KEY"}
    given = {option: server.environ[name] for option, name in names.items()}
    return {**given, "endpoint_url": server.endpoint, "region": server.environ["AWS_REGION"]}
