from __future__ import annotations

import os
import time
from pathlib import Path

import anyio

from vfs.cli.progress import PlainProgress
from vfs.snapshots.dataset import parse_dataset
from vfs.snapshots.unpublished import YOUNG_SECONDS, private_snapshot


class PrivateSource:
    """A source that is scanned for one mount after the other."""

    def __init__(self, directory: Path) -> None:
        self.source = directory / "source"
        self.cache = directory / "cache"
        self.source.mkdir()

    def scan(self, name: str, in_use: frozenset[str] = frozenset()) -> str:
        """Add a file unless it is there, scan the source, and return the snapshot's id."""
        path = self.source / name
        if not path.exists():
            path.touch()
        dataset = parse_dataset(str(self.source), None, {})
        _, found = anyio.run(private_snapshot, dataset, self.cache, in_use, PlainProgress())
        return found.snapshot_id

    def manifests(self) -> dict[str, Path]:
        return {path.name: path for path in self.cache.glob("snapshots/*/snapshots/*")}

    def age(self) -> None:
        """Let all manifests be of an hour ago."""
        before = time.time() - YOUNG_SECONDS - 1
        for path in self.manifests().values():
            os.utime(path, (before, before))


def test_snapshots_that_no_mount_shows_any_more_are_removed(tmp_path: Path) -> None:
    private = PrivateSource(tmp_path)
    private.scan("a")
    private.age()
    last = private.scan("b")
    assert set(private.manifests()) == {last}


def test_snapshots_in_use_and_young_ones_are_kept(tmp_path: Path) -> None:
    private = PrivateSource(tmp_path)
    used = private.scan("a")
    private.age()
    young = private.scan("b", frozenset({used}))
    last = private.scan("c", frozenset({used}))
    assert set(private.manifests()) == {used, young, last}


def test_an_unchanged_source_keeps_its_snapshot(tmp_path: Path) -> None:
    private = PrivateSource(tmp_path)
    first = private.scan("a")
    private.age()
    assert private.scan("a") == first
    assert set(private.manifests()) == {first}
