"""What a child of the zygote does for `headrace prefetch`: fetches files of one mount and reports.

It goes on for as long as somebody reads its reports: who interrupts the command ends it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import trio

from cachesvc.errors import HeadraceError, first_error
from vfs.errors import MountError
from vfs.mounting.nodecache import cache_client
from vfs.mounting.prefetched import Prefetched, Terms
from vfs.mounting.prefetching import Prefetching
from vfs.mounting.spec import MountSpec
from vfs.mounting.state import mount_directory
from vfs.serving.epochs import EPOCHS_FILE, Epochs
from vfs.serving.manifestsource import open_cached
from vfs.snapshots.repository import StoredSnapshot

UNMOUNTED = "the mount was taken off; what is fetched is kept"
LOOK_SECONDS = 1.0
BEAT_SECONDS = 0.25
"""A report at least this often: it shows when nobody listens any more."""


class NobodyListensError(Exception):
    """Who wanted to hear of it is gone."""


class Reports:
    """Writes what has become of it to a pipe, the latest again and again. Owns no descriptor."""

    def __init__(self, pipe: int) -> None:
        """Write to *pipe*; who does not read in time misses a line, but not the last one."""
        os.set_blocking(pipe, False)
        self._pipe = pipe
        self._latest = Prefetched()

    def note(self, prefetched: Prefetched) -> None:
        """Report this from now on."""
        self._latest = prefetched

    async def run(self) -> None:
        """Report until cancelled. Raises NobodyListensError."""
        while True:
            self._write({"progress": self._latest.to_json()})
            await trio.sleep(BEAT_SECONDS)

    def end(self, **said: object) -> None:
        """Say how it ended."""
        os.set_blocking(self._pipe, True)
        self._write(said)

    def _write(self, said: Mapping[str, object]) -> None:
        try:
            os.write(self._pipe, json.dumps(said).encode() + b"\n")
        except BlockingIOError:
            return
        except BrokenPipeError:
            raise NobodyListensError from None


async def end_with_mount(epochs: Path) -> None:
    """Raise MountError once the mount is gone: its state goes with it."""
    # Looked at, since the supervisor that could tell may be another one by then.
    while os.access(epochs, os.F_OK):  # noqa: ASYNC110
        await trio.sleep(LOOK_SECONDS)
    raise MountError(UNMOUNTED)


async def fetch(order: Mapping[str, Any], names: int | None, reports: Reports) -> None:
    """Do what was ordered, by way of the cache, and say how it ended."""
    spec = MountSpec.from_json(order["spec"])
    client = cache_client(spec)
    path = mount_directory(spec.key) / EPOCHS_FILE
    snapshot = shown_at(path)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reports.run)
        nursery.start_soon(end_with_mount, path)
        await nursery.start(client.run)
        tree = await open_cached(client, spec.source.root, spec.repository.root, snapshot)
        prefetching = Prefetching(client, tree, reports.note, Terms(**order["terms"]))
        if names is None:
            done = await prefetching.by_pattern(order["pattern"])
        else:
            with open(names, "rb", closefd=False) as lines:  # noqa: ASYNC230  waits for nothing
                done = await prefetching.by_name(lines, spec.mountpoint)
        reports.end(done=done.to_json())
        nursery.cancel_scope.cancel()


def shown_at(path: Path) -> StoredSnapshot:
    """Return what the mount shows whose state lies at *path*. Raises MountError."""
    try:
        epochs = Epochs(path)
    except FileNotFoundError:
        raise MountError(UNMOUNTED) from None
    snapshot = epochs.snapshot(epochs.current)
    epochs.close()
    return snapshot


def obey(order: Mapping[str, Any], descriptors: Sequence[int]) -> None:
    """Do what was ordered; the first descriptor takes the reports.

    The second, if there is one, is a list of names.
    """
    os.environ.update(MountSpec.from_json(order["spec"]).environment)
    reports = Reports(descriptors[0])
    names = descriptors[1] if len(descriptors) > 1 else None
    try:
        trio.run(fetch, order, names, reports)
    except* NobodyListensError:
        pass
    except* HeadraceError as group:
        with suppress(NobodyListensError):
            reports.end(error=str(first_error(group)))
