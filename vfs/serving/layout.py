"""Where the bytes of a mount's files lie: in objects of the mount's own two origins."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence

from cachesvc.chunk import ObjectRef
from cachesvc.client import Want
from vfs.errors import WrongKindError
from vfs.manifest.inode import Extent, Inode, Kind
from vfs.manifest.stored import Place
from vfs.manifest.tree import Tree
from vfs.serving.extent import REPOSITORY, SOURCE, PlacedExtent
from vfs.serving.mounted import MountedSnapshots

FILES_REMEMBERED = 4096
"""Layouts kept, about 1 KiB each: a large file is read by many requests."""
ORIGIN_OF_PLACE = {Place.SOURCE: SOURCE, Place.REPOSITORY: REPOSITORY}

Layout = Sequence[PlacedExtent]


class Layouts:
    """Extents of files by epoch and position, the ones asked for last kept at hand."""

    def __init__(self, mounted: MountedSnapshots, roots: Mapping[int, str]) -> None:
        """Place objects below *roots*, one canonical URL for each origin."""
        self._mounted = mounted
        self._roots = roots
        self._known: OrderedDict[tuple[int, int], Layout] = OrderedDict()

    def extents_nowait(self, epoch: int, position: int) -> Layout | None:
        """Return a file's extents, or None when pages of the manifest must be read first."""
        known = self._known.get((epoch, position))
        if known is not None:
            return known
        tree = self._mounted.tree_nowait(epoch)
        inode = None if tree is None else tree.inode_nowait(position)
        if tree is None or inode is None or inode.extents is not None:
            return None
        path = tree.path_of_nowait(position)
        if path is None:
            return None
        return self._remember(epoch, inode, self._in_place(tree, inode, path))

    async def extents(self, epoch: int, position: int) -> Layout:
        """Return a file's extents in order. Raises WrongKindError when it is no file."""
        known = self._known.get((epoch, position))
        if known is not None:
            return known
        tree = await self._mounted.tree(epoch)
        inode = await tree.inode(position)
        if inode.extents is None:
            layout = self._in_place(tree, inode, await tree.path_of(position))
        else:
            layout = [await self._placed(tree, extent) for extent in inode.extents]
        return self._remember(epoch, inode, layout)

    async def want(self, epoch: int, position: int, extent: PlacedExtent, index: int) -> Want:
        """Return what the cache must know to fetch one chunk of a file, its hash included."""
        tree = await self._mounted.tree(epoch)
        inode = await tree.inode(position)
        if inode.extents is None:
            hashes = await tree.chunk_hashes(inode, index, index + 1)
        else:
            hashes = await self._stored_hashes(tree, inode, extent, index)
        return Want(extent.origin, extent.object, index, hashes[0] if hashes else None)

    def _in_place(self, tree: Tree, inode: Inode, path: bytes) -> Layout:
        if inode.kind is not Kind.FILE:
            raise WrongKindError(f"inode {inode.position} is no file")
        if inode.size == 0:
            return ()
        key = path.decode("utf-8", "surrogateescape")
        chunk_size = tree.superblock.chunk_size
        source = ObjectRef(self._roots[SOURCE], key, inode.size, inode.version, chunk_size)
        return (PlacedExtent(SOURCE, source, 0, inode.size),)

    async def _placed(self, tree: Tree, extent: Extent) -> PlacedExtent:
        stored = await tree.object_of(extent)
        origin = ORIGIN_OF_PLACE[stored.place]
        chunk_size = tree.superblock.chunk_size
        target = ObjectRef(self._roots[origin], stored.key, stored.size, stored.version, chunk_size)
        return PlacedExtent(origin, target, extent.offset, extent.length)

    async def _stored_hashes(
        self, tree: Tree, inode: Inode, extent: PlacedExtent, index: int
    ) -> Sequence[int] | None:
        for run in inode.extents or ():
            stored = await tree.object_of(run)
            if (ORIGIN_OF_PLACE[stored.place], stored.key) == (extent.origin, extent.object.key):
                return await tree.object_hashes(stored, index, index + 1)
        return None

    def _remember(self, epoch: int, inode: Inode, layout: Layout) -> Layout:
        if len(self._known) >= FILES_REMEMBERED:
            self._known.popitem(last=False)
        self._known[epoch, inode.position] = layout
        return layout
