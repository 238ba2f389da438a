"""Datasets as programs meet them: the same files on a disk, and mounted from there or from S3."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.upload import upload
from tests.node import Node, new_node
from tests.seaweed import SeaweedServer

FILES = 300


@dataclass(frozen=True, slots=True)
class Dataset:
    """Files in `source`, and the same ones read through headrace in `mount`."""

    source: Path
    mount: Path


@pytest.fixture(scope="session")
def reader_node() -> Iterator[Node]:
    """The machine on which all readers run."""
    with new_node() as node:
        yield node


@pytest.fixture(scope="session")
def mounted(reader_node: Node) -> Callable[[Path], Dataset]:
    """Publish and mount a directory as it lies on the disk."""

    def mount(source: Path) -> Dataset:
        repository = reader_node.directory / f"{source.name}.repository"
        reader_node.snapshot(source, "--repo", repository)
        shown = reader_node.mount(source, "--repo", repository, name=f"{source.name}.mount")
        return Dataset(source, shown)

    return mount


@pytest.fixture(scope="session")
def mounted_from_s3(reader_node: Node, s3_server: SeaweedServer) -> Callable[[Path], Dataset]:
    """Upload a directory into a bucket, publish it there and mount it from there."""

    def mount(source: Path) -> Dataset:
        reader_node.environment.update(s3_server.environ)
        url = s3_server.url(f"readers/{source.name}")
        upload(source, files_below(source), url, s3_server.environ)
        reader_node.snapshot(url)
        return Dataset(source, reader_node.mount(url, name=f"{source.name}.s3"))

    return mount


@pytest.fixture(scope="session")
def project(reader_node: Node) -> Path:
    """A directory of files of many sizes in many directories."""
    root = reader_node.directory / "project"
    chance = random.Random(6)
    for number in range(FILES):
        directory = root / f"part{number % 7}" / f"class{number % 11}"
        directory.mkdir(parents=True, exist_ok=True)
        size = chance.choice([0, 1, 700, 4096, 40_000, 300_000])
        (directory / f"sample {number}.bin").write_bytes(chance.randbytes(size))
    (root / "large.bin").write_bytes(chance.randbytes(11 << 20))
    (root / "meta.json").write_text(json.dumps({"files": FILES}))
    return root


@pytest.fixture(scope="session")
def local(project: Path, mounted: Callable[[Path], Dataset]) -> Dataset:
    """The project, mounted from the disk."""
    return mounted(project)


@pytest.fixture(scope="session")
def remote(project: Path, mounted_from_s3: Callable[[Path], Dataset]) -> Dataset:
    """The project, mounted from S3."""
    return mounted_from_s3(project)


@pytest.fixture(params=["local", "remote"])
def dataset(request: pytest.FixtureRequest) -> Dataset:
    """The project, mounted from the disk and then from S3."""
    found: Dataset = request.getfixturevalue(request.param)
    return found


def files_below(root: Path) -> list[str]:
    """Return the paths of all files below *root*, relative to it, sorted."""
    found = (Path(place, name) for place, _, names in os.walk(root) for name in names)
    return sorted(str(path.relative_to(root)) for path in found)
