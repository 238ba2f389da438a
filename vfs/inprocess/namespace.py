"""From paths to inodes, as the kernel would find them in a mount: symlinks are followed.

A symlink that leads out of the snapshot leads nowhere: only a mount has something around it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence

from vfs.inprocess.questions import Questions
from vfs.manifest.inode import ROOT_POSITION, Inode, Kind
from vfs.manifest.tree import Tree
from vfs.serving.recent import Recent

DIRECTORIES_REMEMBERED = 16_384
"""Directories whose inodes are at hand by path, about 600 bytes each."""
MOST_LINKS = 40
"""What Linux follows in one path before it says ELOOP."""


class Namespace:
    """The names of one snapshot. Paths have no slash at either end; the root is the empty one.

    Raises FileNotFoundError, NotADirectoryError, or ELOOP for what is not there.
    """

    def __init__(self, tree: Tree, questions: Questions) -> None:
        """Look names up in *tree*, by way of *questions* alone."""
        self._tree = tree
        self._questions = questions
        self._directories: Recent[str, Inode] = Recent(DIRECTORIES_REMEMBERED)

    def entry(self, path: str) -> Inode:
        """Return what *path* names, itself if it is a symlink."""
        parent, _, name = path.rpartition("/")
        with self._questions.lock:
            directory = self._directories.get(parent)
            if directory is not None and name:
                found = self._tree.lookup_nowait(directory, os.fsencode(name))
                if isinstance(found, Inode):
                    return found
        return self._questions.ask(lambda: self._find(parent, name, path))

    def inode(self, path: str) -> Inode:
        """Return what lies at *path*; symlinks are followed."""
        found = self.entry(path)
        return found if found.kind is not Kind.SYMLINK else self.followed(path)

    def followed(self, path: str) -> Inode:
        """Return what lies at *path*, which leads over symlinks."""
        return self._questions.ask(lambda: self._follow(path))

    def children(self, directory: Inode) -> Iterator[Sequence[Inode]]:
        """Yield a directory's children, sorted by name, some at a time."""
        start = 0
        while batch := self._batch(directory, start):
            yield batch
            start += len(batch)

    def _batch(self, directory: Inode, start: int) -> Sequence[Inode]:
        return self._questions.ask(lambda: self._tree.children_from(directory, start))

    async def _find(self, parent: str, name: str, path: str) -> Inode:
        directory = await self._follow(parent)
        if directory.kind is not Kind.DIRECTORY:
            raise error_at(errno.ENOTDIR, path)
        self._directories.put(parent, directory)
        found = await self._child(directory, os.fsencode(name))
        if found is None:
            raise error_at(errno.ENOENT, path)
        return found

    async def _follow(self, path: str) -> Inode:
        """Go from the root name by name, and wherever symlinks lead on the way."""
        inode = await self._tree.inode(ROOT_POSITION)
        names = os.fsencode(path).split(b"/")[::-1]
        link_count = 0
        while names:
            name = names.pop()
            if inode.kind is not Kind.DIRECTORY:
                raise error_at(errno.ENOTDIR, path)
            found = await self._child(inode, name)
            if found is None:
                raise error_at(errno.ENOENT, path)
            if found.kind is Kind.SYMLINK:
                link_count += 1
                names += _names_of(found, path, link_count)
            else:
                inode = found
        return inode

    async def _child(self, directory: Inode, name: bytes) -> Inode | None:
        if name in {b"", b"."}:
            return directory
        if name != b"..":
            return await self._tree.lookup(directory, name)
        is_root = directory.position == ROOT_POSITION
        return None if is_root else await self._tree.inode(directory.parent)


def _names_of(link: Inode, path: str, link_count: int) -> list[bytes]:
    """Return the components of a symlink's target, the first one last."""
    if link_count > MOST_LINKS:
        raise error_at(errno.ELOOP, path)
    if link.target.startswith(b"/"):
        raise error_at(errno.ENOENT, path)
    return link.target.split(b"/")[::-1]


def error_at(code: int, path: str) -> OSError:
    """Return the OSError that a program gets from the kernel for *path*."""
    return OSError(code, os.strerror(code), path)
