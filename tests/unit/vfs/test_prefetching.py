"""What a mount wants before it is read: its manifest, or files, brought by one of its workers."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import pytest
import trio

from cachesvc.client import CacheClient
from tests.fakes.cached_directory import CachedDirectory, cached_directory
from vfs.manifest.tree import Tree
from vfs.mounting.prefetching import prefetch, prefetch_once
from vfs.mounting.spec import MountSpec
from vfs.mounting.state import mount_directory
from vfs.serving.manifestsource import open_cached
from vfs.serving.mounted import MountedSnapshots
from vfs.snapshots.dataset import Dataset, DatasetRequest
from vfs.snapshots.publish import PublishOptions, Step, publish
from vfs.snapshots.repository import StoredSnapshot, opened_repository

FILES = 30
SIZE = 5000


class Unwatched:
    """Progress that nobody looks at."""

    def begin(self, step: Step, total: int | None) -> None:
        pass

    def advance(self, amount: int) -> None:
        pass


class Prepared:
    """A published directory, none of which is cached but what its tree has read."""

    def __init__(self, cached: CachedDirectory, dataset: Dataset) -> None:
        self.cached = cached
        self.dataset = dataset
        self.client = CacheClient(
            cached.config.directory,
            [dataset.source, dataset.repository],
            ensure=cached.zygote.ensure_async,
        )

    async def open(self, snapshot: StoredSnapshot) -> Tree:
        source, repository = self.dataset.source.root, self.dataset.repository.root
        self.snapshot_shown = snapshot
        return await open_cached(self.client, source, repository, snapshot)

    async def file_size_cached(self) -> int:
        stats = await self.cached.stats()
        pages = self.snapshot_shown.manifest_size
        return int(stats["stored_bytes"]) - pages

    def spec(self, pattern: str | None) -> MountSpec:
        return MountSpec(
            key="mount",
            mountpoint=Path("/nowhere"),
            request=DatasetRequest(str(self.cached.source), None, {}),
            source=self.dataset.source,
            repository=self.dataset.repository,
            ref=None,
            snapshot_id=self.snapshot_shown.snapshot_id,
            manifest_size=self.snapshot_shown.manifest_size,
            cache=self.cached.config,
            uid=0,
            gid=0,
            prefetch=pattern,
        )


class OneEpoch:
    """The history of a mount that was never switched."""

    current = 0

    def __init__(self, snapshot: StoredSnapshot) -> None:
        self._snapshot = snapshot

    def snapshot(self, _: int) -> StoredSnapshot:
        return self._snapshot


async def published(cached: CachedDirectory) -> tuple[Dataset, StoredSnapshot]:
    dataset = DatasetRequest(str(cached.source), None, {}).resolve()
    await publish(dataset, PublishOptions(), Unwatched())
    async with opened_repository(dataset.repository) as repository:
        return dataset, await repository.find("main")


def play(tmp_path: Path, function: Callable[[Prepared, StoredSnapshot], Awaitable[None]]) -> None:
    """Run a function with a published directory and a connected client."""

    async def connected(prepared: Prepared, snapshot: StoredSnapshot) -> None:
        async with anyio.create_task_group() as tasks:
            await tasks.start(prepared.client.run)
            await function(prepared, snapshot)
            tasks.cancel_scope.cancel()

    with cached_directory(tmp_path) as cached:
        for number in range(FILES):
            path = cached.source / f"{'ab'[number % 2]}/{number}"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(os.urandom(SIZE))
        dataset, snapshot = anyio.run(published, cached, backend="asyncio")
        trio.run(connected, Prepared(cached, dataset), snapshot)


def test_the_manifest_alone(tmp_path: Path) -> None:
    async def test(prepared: Prepared, snapshot: StoredSnapshot) -> None:
        tree = await prepared.open(snapshot)
        done = await prefetch(prepared.client, tree, "manifest")
        assert (done.filled_count, done.file_count, done.is_full) == (1, 0, False)
        assert await prepared.file_size_cached() == 0

    play(tmp_path, test)


def test_files_by_a_pattern(tmp_path: Path) -> None:
    async def test(prepared: Prepared, snapshot: StoredSnapshot) -> None:
        done = await prefetch(prepared.client, await prepared.open(snapshot), "a/*")
        assert (done.file_count, done.filled_count) == (FILES // 2, FILES // 2)
        assert await prepared.file_size_cached() == FILES // 2 * SIZE

    play(tmp_path, test)


def test_of_all_workers_one_does_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_RUNTIME_DIR", str(tmp_path / "run"))
    mount_directory("mount").mkdir(parents=True)

    async def test(prepared: Prepared, snapshot: StoredSnapshot) -> None:
        mounted = MountedSnapshots(OneEpoch(snapshot), prepared.open)
        await mounted.current()
        async with trio.open_nursery() as nursery:
            for pattern in ("**", "**", None):
                spec = prepared.spec(pattern)
                nursery.start_soon(prefetch_once, prepared.client, mounted, spec)
        assert (await prepared.cached.stats())["reads_announced"] == FILES
        assert await prepared.file_size_cached() == FILES * SIZE

    play(tmp_path, test)


def test_what_cannot_be_prefetched_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HEADRACE_RUNTIME_DIR", str(tmp_path / "run"))
    mount_directory("mount").mkdir(parents=True)

    async def test(prepared: Prepared, snapshot: StoredSnapshot) -> None:
        mounted = MountedSnapshots(OneEpoch(snapshot), prepared.open)
        await mounted.current()
        await prefetch_once(prepared.client, mounted, prepared.spec("../x"))

    play(tmp_path, test)
    assert "must stay within" in caplog.text
