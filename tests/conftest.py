"""Fixtures that every level of tests shares."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import pytest

from tests.fakes.faultproxy import FaultProxy, fault_proxy
from tests.node import Node, new_node
from tests.seaweed import SeaweedServer, seaweed


@pytest.fixture(scope="session")
def s3_server() -> Iterator[SeaweedServer]:
    """A real S3 server for the whole run, started by the first test that wants it."""
    with seaweed() as server:
        yield server


@pytest.fixture
def s3_url(s3_server: SeaweedServer) -> str:
    """An `s3://` URL below which this test is alone."""
    return s3_server.url(f"test-{uuid4().hex[:12]}")


@pytest.fixture
def s3_proxy(s3_server: SeaweedServer) -> Iterator[FaultProxy]:
    """A proxy before the S3 server that can be told to fail."""
    with fault_proxy(s3_server.endpoint) as proxy:
        yield proxy


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A directory whose path leaves room for a socket's: those of pytest grow with its workers."""
    with TemporaryDirectory(prefix="headrace-") as directory:
        yield Path(directory)


@pytest.fixture
def node() -> Iterator[Node]:
    """A machine of this test's own: no mounts, an empty cache. It must leave nothing behind."""
    with new_node() as made:
        yield made
