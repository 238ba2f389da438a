"""What the kernel has to forget when a mount goes on to another snapshot.

Only what differs is looked at. A name that came, went, or now means something else is dropped from
its directory, and with it the whole of what hung below it. A directory that has another content
keeps its dentry, so that whoever works in it or has mounted something there stays; its attributes
and its listing are dropped.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from vfs.manifest.difference import Change, difference
from vfs.manifest.inode import Inode, Kind
from vfs.manifest.tree import Tree
from vfs.serving import protocol
from vfs.serving.ino import ROOT_INO, Ino
from vfs.serving.mounted import MountedSnapshots

NAMED_ENTRIES = 100_000
"""Changes that are named one by one, at some 2 us each; with more all dentries are outdated."""


@dataclass(slots=True)
class Counts:
    """How many files and symlinks differ."""

    added: int = 0
    removed: int = 0
    changed: int = 0

    def count(self, change: Change) -> None:
        """Count a change; a directory that came or went counts as the files below it."""
        if change.old is None and change.new is not None:
            self.added += _files_in(change.new)
        elif change.new is None and change.old is not None:
            self.removed += _files_in(change.old)
        elif not _is_directory(change):
            self.changed += 1


@dataclass(slots=True)
class Invalidation:
    """Notifications, collected. `entries` is None when there were more than the limit."""

    counts: Counts = field(default_factory=Counts)
    entries: list[bytes] | None = field(default_factory=list)
    directories: list[bytes] = field(default_factory=list)

    def messages(self) -> Iterator[bytes]:
        """Yield what to write to the connection, in this order.

        Whatever a worker had answered for the old snapshot has arrived when a directory's barrier
        returns, and what it left behind is dropped after that: parents come before children.
        """
        yield from self.entries or ()
        yield from self.directories
        if self.entries is None:
            yield protocol.inc_epoch_notification()


@dataclass(frozen=True, slots=True)
class _Directory:
    path: bytes
    ino: Ino
    inode: Inode


async def invalidation(
    mounted: MountedSnapshots, epoch: int, later: Tree, limit: int | None
) -> Invalidation:
    """Return what to forget when *later* follows *epoch*, at most *limit* entries by name."""
    found = Invalidation()
    above: list[_Directory] = []
    async for change in difference(await mounted.tree(epoch), later, whole=False):
        found.counts.count(change)
        parent_path, _, name = change.path.rpartition(b"/")
        while above and above[-1].path != parent_path:
            above.pop()
        if _is_directory(change) and change.old is not None:
            ino = await _number(mounted, epoch, above, change.old)
            above.append(_Directory(change.path, ino, change.old))
            found.directories.append(protocol.barrier_notification(ino))
            found.directories.append(protocol.inval_inode_notification(ino))
        elif found.entries is not None:
            found.entries.append(protocol.inval_entry_notification(above[-1].ino, name))
            if limit is not None and len(found.entries) > limit:
                found.entries = None
    return found


async def _number(
    mounted: MountedSnapshots, epoch: int, above: list[_Directory], directory: Inode
) -> Ino:
    if not above:
        return ROOT_INO
    return (await mounted.numbers(epoch, above[-1].inode, [directory]))[0]


def _is_directory(change: Change) -> bool:
    """Say whether both snapshots have a directory there."""
    return change.old is not None and change.new is not None and change.new.kind is Kind.DIRECTORY


def _files_in(inode: Inode) -> int:
    return inode.files_below if inode.kind is Kind.DIRECTORY else 1
