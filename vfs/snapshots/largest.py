"""Where a snapshot's bytes are: its largest directories, found without reading the whole tree."""

from __future__ import annotations

from dataclasses import dataclass, field
from heapq import heappop, heappush, nsmallest

from vfs.manifest.inode import ROOT_POSITION, Inode, Kind
from vfs.manifest.tree import Tree


@dataclass(frozen=True, slots=True, order=True)
class Candidate:
    """A directory that may be among the largest; the larger, the less."""

    order: tuple[int, int]
    path: bytes = field(compare=False)
    inode: Inode = field(compare=False)


def candidate(path: bytes, inode: Inode) -> Candidate:
    """Return a directory as a candidate; of two with equal bytes the one with more files leads."""
    return Candidate((-inode.bytes_below, -inode.files_below), path, inode)


async def largest_directories(tree: Tree, count: int) -> list[Candidate]:
    """Return the *count* directories below the root with the most bytes in them, largest first.

    A directory is never larger than the one it lies in: so only directories that are among the
    largest themselves are looked into.
    """
    root = await tree.inode(ROOT_POSITION)
    heap = await _largest_children(tree, candidate(b"", root), count)
    found: list[Candidate] = []
    while heap and len(found) < count:
        found.append(heappop(heap))
        for child in await _largest_children(tree, found[-1], count):
            heappush(heap, child)
    return found


async def _largest_children(tree: Tree, parent: Candidate, count: int) -> list[Candidate]:
    """Return the *count* largest directories in *parent*, sorted, which makes them a heap."""
    best: list[Candidate] = []
    if parent.inode.subdirectory_count == 0:
        return best
    prefix = parent.path + b"/" if parent.path else b""
    async for batch in tree.children(parent.inode):
        found = (candidate(prefix + child.name, child) for child in batch if is_directory(child))
        best = nsmallest(count, [*best, *found])
    return best


def is_directory(inode: Inode) -> bool:
    """Say whether *inode* is a directory."""
    return inode.kind is Kind.DIRECTORY
