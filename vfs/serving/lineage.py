"""What a path of one snapshot has become, or was, in another. Pure facts about trees.

A path goes on from one snapshot to another where both have the same file or symlink there, or both
a directory, whatever lies in it. Where it goes on, its inode number does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from vfs.manifest.inode import ROOT_POSITION, Inode, Kind
from vfs.manifest.tree import Tree
from vfs.serving.recent import Recent

DIRECTORIES_REMEMBERED: Final = 16_384
"""Directories whose counterpart is known, about 250 bytes each."""
NOWHERE: Final = 0


def goes_on(old: Inode, new: Inode) -> bool:
    """Say whether *new*, at the same path, may be shown under the number of *old*."""
    if old.kind is Kind.DIRECTORY:
        return new.kind is Kind.DIRECTORY
    return old.identity == new.identity


class Lineage:
    """Finds the inode of another tree with which a path goes on."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._known: Recent[tuple[str, int, str], int] = Recent(DIRECTORIES_REMEMBERED)

    async def counterpart(self, tree: Tree, inode: Inode, other: Tree) -> Inode | None:
        """Return the inode of *other* with which *inode* of *tree* goes on, or None."""
        if inode.kind is Kind.DIRECTORY:
            return await self._directory(tree, inode, other)
        parent = await tree.inode(inode.parent)
        other_parent = await self._directory(tree, parent, other)
        if other_parent is None:
            return None
        (position,) = await self.children([inode], other, other_parent)
        return None if position == NOWHERE else await other.inode(position)

    async def children(
        self, children: Sequence[Inode], other: Tree, other_parent: Inode
    ) -> list[int]:
        """Return for each of a directory's children where in *other* it goes on, or NOWHERE.

        When they are asked for in their order, each mostly follows the one before it there too,
        which saves searching.
        """
        positions = []
        guess = other_parent.first_child
        for child in children:
            found = _child_at(other, other_parent, guess, child.name)
            if found is None:
                found = await other.lookup(other_parent, child.name)
            if found is not None:
                guess = found.position + 1
            positions.append(found.position if found and goes_on(child, found) else NOWHERE)
        return positions

    async def _directory(self, tree: Tree, directory: Inode, other: Tree) -> Inode | None:
        """Climb to the nearest directory whose counterpart is known, and descend from there."""
        below = []
        while (position := self._known_position(tree, directory, other)) is None:
            below.append(directory)
            directory = await tree.inode(directory.parent)
        for each in reversed(below):
            position = await self._descend(each.name, other, position)
            self._known.put((tree.snapshot_id, each.position, other.snapshot_id), position)
        return None if position == NOWHERE else await other.inode(position)

    def _known_position(self, tree: Tree, directory: Inode, other: Tree) -> int | None:
        if tree.snapshot_id == other.snapshot_id or directory.position == ROOT_POSITION:
            return directory.position
        return self._known.get((tree.snapshot_id, directory.position, other.snapshot_id))

    @staticmethod
    async def _descend(name: bytes, other: Tree, position: int) -> int:
        if position == NOWHERE:
            return NOWHERE
        found = await other.lookup(await other.inode(position), name)
        return found.position if found and found.kind is Kind.DIRECTORY else NOWHERE


def _child_at(tree: Tree, parent: Inode, position: int, name: bytes) -> Inode | None:
    """Return the child *name* of *parent* if it lies at *position* and is in memory."""
    if not parent.first_child <= position < parent.first_child + parent.child_count:
        return None
    found = tree.inode_nowait(position)
    matches = found is not None and found.name == name and found.parent == parent.position
    return found if matches else None
