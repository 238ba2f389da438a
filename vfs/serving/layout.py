"""Where the bytes of a mount's files lie: in objects of the mount's own two origins."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence

from cachesvc.chunk import ObjectRef
from cachesvc.client import Want
from vfs.errors import WrongKindError
from vfs.manifest.inode import Extent, Inode, Kind
from vfs.manifest.stored import Place, StoredObject
from vfs.manifest.tree import Tree
from vfs.serving.extent import REPOSITORY, SOURCE, PlacedExtent
from vfs.serving.grain import with_fine_grain
from vfs.serving.mounted import MountedSnapshots
from vfs.serving.recent import Recent

FILES_REMEMBERED = 4096
"""Layouts kept, about 1 KiB each: a large file is read by many requests."""
PACKS_REMEMBERED = 1024
"""Identities of packs kept: the files of one share it, and its digest is computed once."""
ORIGIN_OF_PLACE = {Place.SOURCE: SOURCE, Place.REPOSITORY: REPOSITORY}

Layout = Sequence[PlacedExtent]


class Layouts:
    """Extents of files by epoch and position, the ones asked for last kept at hand."""

    def __init__(self, mounted: MountedSnapshots, roots: Mapping[int, str]) -> None:
        """Place objects below *roots*, one canonical URL for each origin."""
        self._mounted = mounted
        self._roots = roots
        self._known: OrderedDict[tuple[int, int], Layout] = OrderedDict()
        self._packs: Recent[tuple[str, int], ObjectRef] = Recent(PACKS_REMEMBERED)

    def extents_nowait(self, epoch: int, position: int) -> Layout | None:
        """Return a file's extents, or None when pages of the manifest must be read first."""
        known = self._known.get((epoch, position))
        if known is not None:
            return known
        tree = self._mounted.tree_nowait(epoch)
        inode = None if tree is None else tree.inode_nowait(position)
        if tree is None or inode is None:
            return None
        layout = self._layout_nowait(tree, inode)
        return None if layout is None else self._remember(epoch, inode, layout)

    async def extents(self, epoch: int, position: int) -> Layout:
        """Return a file's extents in order. Raises WrongKindError when it is no file."""
        known = self._known.get((epoch, position))
        if known is not None:
            return known
        tree = await self._mounted.tree(epoch)
        inode = await tree.inode(position)
        if inode.extent is None:
            layout = self._in_place(tree, inode, await tree.path_of(position))
        else:
            layout = self._packed(tree, inode.extent, await tree.contents.object_of(inode.extent))
        return self._remember(epoch, inode, layout)

    async def want(self, epoch: int, position: int, extent: PlacedExtent, index: int) -> Want:
        """Return what the cache must know to fetch one chunk of a file, its hash included."""
        tree = await self._mounted.tree(epoch)
        inode = await tree.inode(position)
        if inode.extent is None:
            hashes = await tree.contents.chunk_hashes(inode, index, index + 1)
        else:
            stored = await tree.contents.object_of(inode.extent)
            hashes = await tree.contents.object_hashes(stored, index, index + 1)
        return Want(extent.origin, extent.object, index, hashes[0] if hashes else None)

    def _layout_nowait(self, tree: Tree, inode: Inode) -> Layout | None:
        if inode.extent is not None:
            stored = tree.contents.object_of_nowait(inode.extent)
            return None if stored is None else self._packed(tree, inode.extent, stored)
        path = tree.path_of_nowait(inode.position)
        return None if path is None else self._in_place(tree, inode, path)

    def _in_place(self, tree: Tree, inode: Inode, path: bytes) -> Layout:
        if inode.kind is not Kind.FILE:
            raise WrongKindError(f"inode {inode.position} is no file")
        if inode.size == 0:
            return ()
        key = path.decode("utf-8", "surrogateescape")
        chunk_size = tree.superblock.chunk_size
        source = ObjectRef(self._roots[SOURCE], key, inode.size, inode.version, chunk_size)
        extent = PlacedExtent(SOURCE, source, 0, inode.size)
        return (extent if inode.hashed else with_fine_grain(extent),)  # hashes are of whole chunks

    def _packed(self, tree: Tree, extent: Extent, stored: StoredObject) -> Layout:
        if extent.length == 0:
            return ()
        origin = ORIGIN_OF_PLACE[stored.place]
        known = self._packs.get((tree.snapshot_id, extent.number))
        if known is None:
            known = ObjectRef(
                self._roots[origin], stored.key, stored.size, stored.version, stored.chunk_size
            )
            self._packs.put((tree.snapshot_id, extent.number), known)
        return (PlacedExtent(origin, known, extent.offset, extent.length),)

    def _remember(self, epoch: int, inode: Inode, layout: Layout) -> Layout:
        if len(self._known) >= FILES_REMEMBERED:
            self._known.popitem(last=False)
        self._known[epoch, inode.position] = layout
        return layout
