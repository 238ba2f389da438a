"""Version switches made step by step, by a test in the place of the process that makes them."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

import anyio
import pytest
import trio

from cachesvc.config import CacheConfig
from tests.fuse.versioned import Versioned
from vfs.mounting.nodecache import cache_client
from vfs.mounting.spec import MountSpec
from vfs.mounting.state import all_states, mount_directory
from vfs.mounting.versions import Switch, find_snapshot
from vfs.serving.epochs import EPOCHS_FILE, EpochWriter
from vfs.serving.manifestsource import open_cached
from vfs.snapshots.dataset import DatasetRequest
from vfs.snapshots.repository import StoredSnapshot

PIDFD_GETFD = 438
_libc = ctypes.CDLL(None, use_errno=True)

Steps = Callable[[Switch, Mapping[str, StoredSnapshot]], Awaitable[None]]


def spec_of(dataset: Versioned) -> MountSpec:
    """Return as much of the live mount's spec as a switch needs."""
    request = DatasetRequest(str(dataset.source), None, {})
    place = request.resolve()
    (state,) = all_states()
    return MountSpec(
        key=state.key,
        mountpoint=dataset.mount,
        request=request,
        source=place.source,
        repository=place.repository,
        ref=None,
        snapshot_id=state.snapshot,
        manifest_size=0,
        cache=CacheConfig(dataset.node.cache),
        uid=0,
        gid=0,
    )


@contextmanager
def connection_of(dataset: Versioned) -> Iterator[int]:
    """Give a copy of the FUSE descriptor that a worker of the mount has."""
    pid = dataset.node.processes()["worker"][0]
    (number,) = (
        int(name)
        for name in os.listdir(f"/proc/{pid}/fd")
        if os.readlink(f"/proc/{pid}/fd/{name}") == "/dev/fuse"
    )
    process = os.pidfd_open(pid)
    copy: int = _libc.syscall(PIDFD_GETFD, process, number, 0)
    os.close(process)
    assert copy >= 0, os.strerror(ctypes.get_errno())
    try:
        yield copy
    finally:
        os.close(copy)


def play(dataset: Versioned, steps: Steps) -> None:
    """Run *steps* with a `Switch` of the mount and the snapshots that its refs mean."""
    with pytest.MonkeyPatch.context() as patch, connection_of(dataset) as connection:
        patch.setenv("HEADRACE_RUNTIME_DIR", dataset.node.environment["HEADRACE_RUNTIME_DIR"])
        spec = spec_of(dataset)
        names = ("v1", "v2")
        found = {name: anyio.run(find_snapshot, spec, name, backend="asyncio") for name in names}
        epochs = EpochWriter(mount_directory(spec.key) / EPOCHS_FILE)
        try:
            trio.run(partial(_play, spec, epochs, connection, steps, found))
        finally:
            epochs.close()


async def _play(
    spec: MountSpec,
    epochs: EpochWriter,
    connection: int,
    steps: Steps,
    found: Mapping[str, StoredSnapshot],
) -> None:
    client = cache_client(spec)
    async with trio.open_nursery() as nursery:
        await nursery.start(client.run)
        opener = partial(open_cached, client, spec.source.root, spec.repository.root)
        await steps(Switch(epochs, connection, opener), found)
        nursery.cancel_scope.cancel()
