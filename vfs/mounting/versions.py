"""Showing another snapshot under a live mount: one switch, in a process of its own.

What the kernel has to forget is worked out first, so that whatever fails leaves the mount as it
was. Then the epoch is written: that is the switch. Then the kernel is told, by means of a copy of
the connection; if that is cut short, `Switch.catch_up` tells it again. A notification waits for
requests that workers still answer, so none is ever sent by who serves. The mount's own credentials
are looked up in its own environment, which is another reason for a process.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import anyio
import trio

from cachesvc.errors import HeadraceError
from cachesvc.logs import log_to_stderr
from vfs.errors import MountError
from vfs.manifest.tree import Tree
from vfs.mounting.identity import Identity
from vfs.mounting.nodecache import cache_client
from vfs.mounting.spec import MountSpec
from vfs.mounting.state import mount_directory
from vfs.serving.epochs import EPOCHS_FILE, EpochWriter
from vfs.serving.invalidation import NAMED_ENTRIES, Counts, Invalidation, invalidation
from vfs.serving.manifestsource import open_cached
from vfs.serving.mounted import MountedSnapshots
from vfs.snapshots.repository import StoredSnapshot, opened_repository


@dataclass(frozen=True, slots=True)
class Switched:
    """What a switch did; `old` and `new` are equal when the mount showed that snapshot already."""

    old: str
    new: str
    counts: Counts


class Switch:
    """One mount's way from one epoch to the next."""

    def __init__(
        self,
        epochs: EpochWriter,
        connection: int,
        open_tree: Callable[[StoredSnapshot], Awaitable[Tree]],
    ) -> None:
        """Write to *epochs* and to *connection*; neither is closed here."""
        self._epochs = epochs
        self._connection = connection
        self._open_tree = open_tree
        self._mounted = MountedSnapshots(epochs, open_tree)

    async def to(self, snapshot: StoredSnapshot) -> Switched:
        """Go on to *snapshot*, when `catch_up` has nothing left to do."""
        epoch = self._epochs.current
        old = self._epochs.snapshot(epoch)
        if old.snapshot_id == snapshot.snapshot_id:
            return Switched(old.snapshot_id, old.snapshot_id, Counts())
        later = await self._open_tree(snapshot)
        forgotten = await invalidation(self._mounted, epoch, later, NAMED_ENTRIES)
        self._epochs.append(snapshot)
        await self._announce(epoch, forgotten)
        return Switched(old.snapshot_id, snapshot.snapshot_id, forgotten.counts)

    async def catch_up(self) -> None:
        """Tell the kernel of each switch of which nobody has recorded that it was told."""
        for epoch in range(self._epochs.announced, self._epochs.current):
            await self._announce(epoch, await self._forgotten(epoch, NAMED_ENTRIES))

    async def _announce(self, epoch: int, forgotten: Invalidation) -> None:
        """Tell the kernel of the switch that followed *epoch*."""
        if not tell(self._connection, forgotten):
            tell(self._connection, await self._forgotten(epoch, None))
        self._epochs.announce(epoch + 1)

    async def _forgotten(self, epoch: int, limit: int | None) -> Invalidation:
        later = await self._mounted.tree(epoch + 1)
        return await invalidation(self._mounted, epoch, later, limit)


def tell(connection: int, forgotten: Invalidation) -> bool:
    """Write the notifications; False when the kernel cannot outdate all dentries at once.

    Waits for requests on the directories that changed.
    """
    for message in forgotten.messages():
        try:
            os.write(connection, message)
        except OSError as error:
            if error.errno == errno.EINVAL and forgotten.entries is None:
                return False
            if error.errno != errno.ENOENT:  # the kernel does not know it: nothing to forget
                raise MountError(f"the kernel takes no notification: {error.strerror}") from error
    return True


async def find_snapshot(spec: MountSpec, name: str) -> StoredSnapshot:
    """Return what *name* means in the mount's own repository, as the mount's own user."""
    _, repository = await anyio.to_thread.run_sync(spec.renewed_origins)
    async with opened_repository(repository) as opened:
        return await opened.find(name)


async def switch(
    spec: MountSpec, connection: int, wanted: StoredSnapshot | None
) -> Switched | None:
    """Show *wanted*, or with None only catch up, while no other process may switch the mount."""
    epochs = EpochWriter(mount_directory(spec.key) / EPOCHS_FILE)
    client = cache_client(spec)
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(client.run)
            opener = partial(open_cached, client, spec.source.root, spec.repository.root)
            one = Switch(epochs, connection, opener)
            await one.catch_up()
            done = await one.to(wanted) if wanted else None
            nursery.cancel_scope.cancel()
        return done
    finally:
        epochs.close()


def obey(order: dict[str, Any], connection: int) -> dict[str, Any]:
    """Do what the supervisor ordered and return what to tell it."""
    spec = MountSpec.from_json(order["spec"])
    answer: dict[str, Any]
    Identity().assume(spec.environment)
    try:
        name = order["name"]
        wanted = name and anyio.run(find_snapshot, spec, name, backend="asyncio")
        done = trio.run(switch, spec, connection, wanted)
    except* HeadraceError as group:
        answer = {"error": str(_first(group))}
    else:
        answer = asdict(done) if done else {}
    return answer


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def main() -> None:
    """Read an order from standard input, write the answer to standard output."""
    log_to_stderr("switch")
    print(json.dumps(obey(json.load(sys.stdin), int(sys.argv[1]))))


if __name__ == "__main__":
    main()
