"""The snapshots of a live mount by epoch, and what an inode number means in them.

The number of a file or symlink is the position that it had in the oldest epoch since which it has
not changed: what did not change keeps its number, and with it all that the kernel cached. The
number of a directory is the position that its path had in the oldest epoch since which a directory
has always been there: it means «this path, now». Where the path ended, the last epoch that had it
answers for ever. All of it follows from the trees alone, so that every worker finds the same.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

import trio

from vfs.errors import StaleInodeError, WrongKindError
from vfs.manifest.inode import Inode, Kind
from vfs.manifest.siblings import Siblings
from vfs.manifest.tree import Fitting, NotLoaded, Tree
from vfs.serving.births import Births
from vfs.serving.ino import ROOT_INO, ROOT_POSITION, Ino, epoch_of, ino_of, position_of
from vfs.serving.lineage import NOWHERE, Lineage
from vfs.serving.recent import Recent
from vfs.snapshots.repository import StoredSnapshot

TREES_OPEN: Final = 8
"""Snapshots of which pages are in memory; a mount mostly looks at one or two."""
DIRECTORIES_FOLLOWED: Final = 16_384
"""Directory numbers whose present place is remembered, about 200 bytes each."""
_DOTS: Final = frozenset((b".", b".."))


class History(Protocol):
    """Which snapshot each epoch shows (see `vfs.serving.epochs`)."""

    @property
    def current(self) -> int:
        """The epoch that the mount shows."""
        ...

    def snapshot(self, epoch: int) -> StoredSnapshot:
        """Return the snapshot of an epoch that is not in the future."""
        ...


Place = tuple[int, Inode]
"""An inode and the number by which the kernel knows it."""
OpenTree = Callable[[StoredSnapshot], Awaitable[Tree]]


class MountedSnapshots:
    """Epoch → tree, number → inode, inode → number."""

    def __init__(self, history: History, open_tree: OpenTree) -> None:
        """Show what *history* says, by trees that *open_tree* opens when they are first needed."""
        self._history = history
        self._open_tree = open_tree
        self._trees: Recent[str, Tree] = Recent(TREES_OPEN)
        self._lineage = Lineage()
        self._born = Births()
        self._followed: Recent[int, tuple[int, int]] = Recent(DIRECTORIES_FOLLOWED)

    @property
    def epoch(self) -> int:
        """The epoch that the mount shows at this moment."""
        return self._history.current

    # Trees

    def tree_nowait(self, epoch: int) -> Tree | None:
        """Return the tree of *epoch* if it is open. Raises StaleInodeError when there is none."""
        return self._trees.get(self._snapshot(epoch).snapshot_id)

    async def tree(self, epoch: int) -> Tree:
        """Return the tree of *epoch*, opened if need be. Raises StaleInodeError."""
        tree = self.tree_nowait(epoch)
        if tree is None:
            tree = await self._open_tree(self._snapshot(epoch))
            self._trees.put(tree.snapshot_id, tree)
        return tree

    async def current(self) -> Tree:
        """Return the tree that the mount shows."""
        return await self.tree(self.epoch)

    def _snapshot(self, epoch: int) -> StoredSnapshot:
        if epoch > self._history.current:
            raise StaleInodeError(f"the mount knows no epoch {epoch}")
        return self._history.snapshot(epoch)

    # From numbers to inodes

    def inode_nowait(self, ino: int) -> tuple[int, Inode] | None:
        """Return the same as `inode`, or None when something must be read first."""
        now = self.epoch
        epoch, position = self._place(ino, now)
        tree = self.tree_nowait(epoch)
        inode = None if tree is None else tree.inode_nowait(position)
        if inode is None or (epoch < now and inode.kind is Kind.DIRECTORY):
            return None
        return epoch, inode

    async def inode(self, ino: int) -> tuple[int, Inode]:
        """Return what *ino* means now, and the epoch that says so. Raises StaleInodeError."""
        now = self.epoch
        epoch, position = self._place(ino, now)
        inode = await self._at(epoch, position)
        if epoch < now and inode.kind is Kind.DIRECTORY:
            epoch, inode = await self.follow(epoch, inode, now)
            self._followed.put(ino, (epoch, inode.position))
        return epoch, inode

    def lookup_nowait(self, ino: int, name: bytes) -> tuple[Ino, Inode] | NotLoaded | None:
        """Return the same as `lookup`, or NOT_LOADED when something must be read first."""
        place = self.inode_nowait(ino)
        if place is None or name in _DOTS:
            return NotLoaded.NOT_LOADED
        epoch, directory = place
        _check_directory(ino, directory)
        tree = self.tree_nowait(epoch)
        found = NotLoaded.NOT_LOADED if tree is None else tree.lookup_nowait(directory, name)
        if not isinstance(found, Inode):
            return found
        number = self._number_nowait(epoch, found)
        return NotLoaded.NOT_LOADED if number is None else (number, found)

    async def lookup(self, ino: int, name: bytes) -> tuple[Ino, Inode] | None:
        """Return the child *name* of a directory, `.` and `..` included, with its number."""
        epoch, directory = await self.inode(ino)
        _check_directory(ino, directory)
        if name == b".":
            return Ino(ino), directory
        if name == b"..":
            return await self.parent(epoch, directory)
        found = await (await self.tree(epoch)).lookup(directory, name)
        return found and ((await self.numbers(epoch, directory, [found]))[0], found)

    async def listed(self, ino: int, epoch: int) -> tuple[int, Inode]:
        """Return what *ino* was in *epoch*, in which a listing of it began."""
        if ino == ROOT_INO:
            return epoch, await self._at(epoch, ROOT_POSITION)
        first = epoch_of(ino)
        return await self.follow(first, await self._at(first, position_of(ino)), epoch)

    async def follow(self, epoch: int, inode: Inode, until: int) -> tuple[int, Inode]:
        """Return the last epoch up to *until* to which *inode* goes on, and the inode there."""
        while epoch < until:
            tree, later = await self.tree(epoch), await self.tree(epoch + 1)
            found = await self._lineage.counterpart(tree, inode, later)
            if found is None:
                break
            epoch, inode = epoch + 1, found
        return epoch, inode

    def _place(self, ino: int, now: int) -> tuple[int, int]:
        """Return the epoch and the position by which *ino* is known."""
        if ino == ROOT_INO:
            return now, ROOT_POSITION
        return self._followed.get(ino) or (epoch_of(ino), position_of(ino))

    async def _at(self, epoch: int, position: int) -> Inode:
        tree = await self.tree(epoch)
        return tree.inode_nowait(position) or await tree.inode(position)

    # From inodes to numbers

    def children_nowait(
        self, epoch: int, directory: Inode, start: int, fitting: Fitting
    ) -> tuple[Sequence[int], Siblings] | None:
        """Return the same as `children`, or None when something must be read first."""
        tree = self.tree_nowait(epoch)
        siblings = None if tree is None else tree.siblings_nowait(directory, start, fitting)
        numbers = None if siblings is None else self._numbers_nowait(epoch, siblings)
        return None if siblings is None or numbers is None else (numbers, siblings)

    async def children(
        self, epoch: int, directory: Inode, start: int, fitting: Fitting
    ) -> tuple[Sequence[int], Siblings]:
        """Return children that *directory* has in *epoch*, and their numbers: see `Tree.siblings`.

        Numbers that are not remembered are found for all that follow on the page.
        """
        tree = await self.tree(epoch)
        siblings = await tree.siblings(directory, start, fitting)
        numbers = self._numbers_nowait(epoch, siblings)
        if numbers is None:
            following = await tree.children_from(directory, start)
            numbers = (await self.numbers(epoch, directory, following))[: len(siblings.names)]
        return numbers, siblings

    def parent_nowait(self, epoch: int, inode: Inode) -> Place | None:
        """Return the same as `parent`, or None when something must be read first."""
        tree = self.tree_nowait(epoch)
        directory = None if tree is None else tree.inode_nowait(inode.parent)
        number = None if directory is None else self._number_nowait(epoch, directory)
        return None if directory is None or number is None else (number, directory)

    async def parent(self, epoch: int, inode: Inode) -> tuple[Ino, Inode]:
        """Return the directory above *inode*, which *epoch* has; the root is above itself."""
        tree = await self.tree(epoch)
        directory = await tree.inode(inode.parent)
        if directory.position == ROOT_POSITION:
            return ROOT_INO, directory
        above = await tree.inode(directory.parent)
        return (await self.numbers(epoch, above, [directory]))[0], directory

    def _number_nowait(self, epoch: int, inode: Inode) -> Ino | None:
        """Return the number of an inode that *epoch* has, None when it is not remembered."""
        place = ino_of(epoch, inode.position)
        return place if epoch == 0 or place == ROOT_INO else self._born.get(place)

    def _numbers_nowait(self, epoch: int, siblings: Siblings) -> Sequence[int] | None:
        """Return the numbers of *siblings*, which *epoch* has, None when some is not remembered."""
        first = ino_of(epoch, siblings.position)
        places = range(first, first + len(siblings.names))
        if epoch == 0:
            return places
        known = [born for place in places if (born := self._born.get(Ino(place)))]
        return known if len(known) == len(places) else None

    async def numbers(self, epoch: int, parent: Inode, children: Sequence[Inode]) -> list[Ino]:
        """Return the numbers of *children*, which the directory *parent* has in *epoch*.

        Goes back through the earlier epochs that had the directory until all are known: in one step
        each where nothing below it differs, else with a look-up for each child that goes on.
        """
        numbers = [ino_of(epoch, child.position) for child in children]
        asked = tuple(numbers)
        open_ones = self._settle(numbers, range(len(children)))
        tree = await self.tree(epoch)
        while epoch > 0 and open_ones:
            epoch -= 1
            older = await self.tree(epoch)
            before = await self._lineage.counterpart(tree, parent, older)
            if before is None:
                break
            if before.digest == parent.digest:
                shift = before.first_child - parent.first_child
                positions = [position_of(numbers[each]) + shift for each in open_ones]
            else:
                positions = await self._lineage.children(
                    [children[each] for each in open_ones], older, before
                )
            going_on = []
            for each, position in zip(open_ones, positions, strict=True):
                if position != NOWHERE:
                    numbers[each] = ino_of(epoch, position)
                    going_on.append(each)
            open_ones = self._settle(numbers, going_on)
            tree, parent = older, before
            await trio.lowlevel.checkpoint()
        self._remember(asked, numbers)
        return numbers

    def _settle(self, numbers: list[Ino], open_ones: Sequence[int]) -> Sequence[int]:
        """Go back as far as is known already; return those of which nothing is known."""
        unknown = []
        for each in open_ones:
            born = self._born.get(numbers[each])
            if born is None:
                unknown.append(each)
            else:
                numbers[each] = born
        return unknown

    def _remember(self, asked: Sequence[Ino], numbers: Sequence[Ino]) -> None:
        for place, born in zip(asked, numbers, strict=True):
            if epoch_of(place) > 0:
                self._born.put(place, born)


def _check_directory(ino: int, inode: Inode) -> None:
    if inode.kind is not Kind.DIRECTORY:
        raise WrongKindError(f"inode {ino} is no directory")
