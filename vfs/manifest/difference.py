"""What differs between two snapshots: both trees are walked only where their digests differ."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from enum import Enum

from vfs.manifest.inode import ROOT_POSITION, Inode
from vfs.manifest.tree import Tree


class ChangeKind(Enum):
    """What became of a path."""

    ADDED = "A"
    REMOVED = "D"
    CHANGED = "M"


@dataclass(frozen=True, slots=True)
class Change:
    """One path that differs. `old` is None when it was added, `new` when it was removed.

    A directory is CHANGED when anything below it, or its own mode or mtime, differs.
    """

    kind: ChangeKind
    path: bytes
    old: Inode | None
    new: Inode | None


@dataclass(frozen=True, slots=True)
class _Pair:
    """What two trees have at one path."""

    path: bytes
    old: Inode | None
    new: Inode | None

    @property
    def differs(self) -> bool:
        """Whether a reader can see a difference."""
        if self.old is None or self.new is None:
            return True
        return self.old.identity != self.new.identity

    @property
    def may_differ_below(self) -> bool:
        """Whether children have to be compared."""
        if self.old is None or self.new is None:
            return True
        return self.old.digest != self.new.digest


async def difference(a: Tree, b: Tree, *, whole: bool = True) -> AsyncIterator[Change]:
    """Yield every path that differs from *a* to *b*, a directory before what lies in it.

    Something that became another kind of thing is removed, with all below it, and then added.
    Unless *whole*, an added or removed directory stands for all that lies below it. Memory is two
    pages for each level of the tree.
    """
    root = _Pair(b"", await a.inode(ROOT_POSITION), await b.inode(ROOT_POSITION))
    if not root.differs:
        return
    yield _change(root)
    levels = [_Siblings(a, b, root)]
    while levels:
        pair = await levels[-1].next_pair()
        if pair is None:
            levels.pop()
        elif pair.differs:
            yield _change(pair)
            if pair.may_differ_below and (whole or (pair.old and pair.new)):
                levels.append(_Siblings(a, b, pair))


def _change(pair: _Pair) -> Change:
    if pair.old is None:
        kind = ChangeKind.ADDED
    elif pair.new is None:
        kind = ChangeKind.REMOVED
    else:
        kind = ChangeKind.CHANGED
    return Change(kind, pair.path, pair.old, pair.new)


class _Siblings:
    """The children of one path in both trees, merged by name."""

    def __init__(self, a: Tree, b: Tree, parents: _Pair) -> None:
        self._prefix = parents.path + b"/" if parents.path else b""
        self._old = _Cursor(a, parents.old)
        self._new = _Cursor(b, parents.new)
        self._held: _Pair | None = None

    async def next_pair(self) -> _Pair | None:
        """Return the next name that either tree has, or None after the last."""
        if self._held is not None:
            held, self._held = self._held, None
            return held
        old, new = await self._old.peek(), await self._new.peek()
        if old is None and new is None:
            return None
        name = min(inode.name for inode in (old, new) if inode)
        pair = _Pair(self._prefix + name, self._old.take(name), self._new.take(name))
        if pair.old and pair.new and pair.old.kind is not pair.new.kind:
            self._held = _Pair(pair.path, None, pair.new)
            return _Pair(pair.path, pair.old, None)
        return pair


class _Cursor:
    """A place in a directory's listing; of nothing at all where there is no directory."""

    def __init__(self, tree: Tree, directory: Inode | None) -> None:
        self._tree = tree
        self._directory = directory
        self._batch: Sequence[Inode] = ()
        self._start = 0  # the child number of the batch's first
        self._at = 0

    async def peek(self) -> Inode | None:
        """Return the child at this place, or None after the last."""
        if self._at == len(self._batch) and self._directory is not None:
            self._start += len(self._batch)
            self._batch = await self._tree.children_from(self._directory, self._start)
            self._at = 0
        return self._batch[self._at] if self._at < len(self._batch) else None

    def take(self, name: bytes) -> Inode | None:
        """Return the child at this place and step on, if it has that name."""
        if self._at == len(self._batch) or self._batch[self._at].name != name:
            return None
        self._at += 1
        return self._batch[self._at - 1]
