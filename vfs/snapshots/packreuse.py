"""What the snapshot before has packed already: unchanged files keep their place there."""

from __future__ import annotations

import logging

from vfs.errors import ManifestError
from vfs.manifest.inode import Extent, Inode
from vfs.manifest.packing import Packing
from vfs.manifest.tree import Tree
from vfs.snapshots.packplan import SmallFile
from vfs.snapshots.repository import Repository

log = logging.getLogger(__name__)


class PackedBefore:
    """The packs of an earlier snapshot of the same source."""

    def __init__(self, tree: Tree, repository: Repository, packing: Packing) -> None:
        """Take packs of *tree* over into *packing*, each when its first file is."""
        self._tree = tree
        self._repository = repository
        self._packing = packing
        self._numbers: dict[int, int | None] = {}

    async def keep(self, directory: bytes, files: list[SmallFile]) -> list[SmallFile]:
        """Place those of a directory's *files* that did not change; return all others.

        What cannot be read of the earlier snapshot is as if it had not been there.
        """
        if not files:
            return files
        try:
            places = await self._places(directory, files)
        except ManifestError as exc:
            log.warning("%r is packed anew: %s", directory, exc)
            return files
        for position, extent in places.items():
            self._packing.place(position, extent)
        return [file for file in files if file.inode.position not in places]

    async def _places(self, directory: bytes, files: list[SmallFile]) -> dict[int, Extent]:
        before = await self._tree.resolve(directory)
        if before is None:
            return {}
        places = {}
        for file in files:
            extent = await self._place(before, file.inode)
            if extent is not None:
                places[file.inode.position] = extent
        return places

    async def _place(self, directory: Inode, file: Inode) -> Extent | None:
        before = await self._tree.lookup(directory, file.name)
        if before is None or before.extent is None or before.identity != file.identity:
            return None
        number = await self._number(before.extent)
        return None if number is None else before.extent._replace(number=number)

    async def _number(self, extent: Extent) -> int | None:
        """Return the number that a pack has now; None when the pack is gone."""
        if extent.number not in self._numbers:
            self._numbers[extent.number] = await self._taken_over(extent)
        return self._numbers[extent.number]

    async def _taken_over(self, extent: Extent) -> int | None:
        stored = await self._tree.contents.object_of(extent)
        if not await self._repository.has(stored.key, stored.size):
            log.warning("%s/%s is gone: packing its files anew", self._repository.root, stored.key)
            return None
        hashes = await self._tree.contents.object_hashes(stored, 0, stored.chunk_count) or ()
        table = b"".join(each.to_bytes(8, "little") for each in hashes)
        return self._packing.add_object(stored, table)
