"""The snapshots of a live mount by epoch, and the way from an inode number to an inode."""

from __future__ import annotations

from vfs.errors import StaleInodeError, WrongKindError
from vfs.manifest.inode import Inode, Kind
from vfs.manifest.tree import Tree
from vfs.serving.ino import ROOT_INO, ROOT_POSITION, epoch_of, position_of


class MountedSnapshots:
    """Epoch → tree. Pure look-up: pages that are not in memory are the trees' business."""

    def __init__(self, trees: dict[int, Tree]) -> None:
        """Show *trees*; the highest epoch is the current one."""
        self._trees = trees
        self._epoch = max(trees)

    @property
    def current(self) -> Tree:
        """The tree whose root the mount shows."""
        return self._trees[self._epoch]

    def tree(self, epoch: int) -> Tree:
        """Return the tree of *epoch*. Raises StaleInodeError."""
        try:
            return self._trees[epoch]
        except KeyError:
            raise StaleInodeError(f"the mount knows no epoch {epoch}") from None

    def locate(self, ino: int) -> tuple[int, int]:
        """Return the epoch and position of *ino*; the root is always the current snapshot's."""
        if ino == ROOT_INO:
            return self._epoch, ROOT_POSITION
        return epoch_of(ino), position_of(ino)

    async def inode(self, ino: int) -> tuple[int, Inode]:
        """Return the epoch and the inode of *ino*. Raises StaleInodeError when there is none."""
        epoch, position = self.locate(ino)
        tree = self.tree(epoch)
        return epoch, tree.inode_nowait(position) or await tree.inode(position)

    async def lookup(self, epoch: int, parent: Inode, name: bytes) -> Inode | None:
        """Return the child *name* of a directory, `.` and `..` included, or None."""
        if parent.kind is not Kind.DIRECTORY:
            raise WrongKindError(f"inode {parent.position} is no directory")
        if name == b".":
            return parent
        tree = self.tree(epoch)
        if name == b"..":
            return await tree.inode(parent.parent or parent.position)
        return await tree.lookup(parent, name)
