"""headrace's own extended attributes: what a file is and where its bytes come from."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from cachesvc.client import CacheClient
from vfs.errors import MissingAttributeError
from vfs.manifest.inode import Inode, Kind
from vfs.serving.extent import PlacedExtent, file_spans
from vfs.serving.grain import bytes_here
from vfs.serving.layout import Layouts
from vfs.serving.mounted import MountedSnapshots

Reader = Callable[[int, Inode], Awaitable[str]]


class AttributeReader:
    """`user.headrace.*`: snapshot on files and directories; object, etag and cached_bytes on files.

    Symlinks have none: the kernel lets nobody read a `user.` attribute there.
    """

    def __init__(self, mounted: MountedSnapshots, layouts: Layouts, chunks: CacheClient) -> None:
        """Answer from the trees, and for `cached_bytes` from the cache's index."""
        self._mounted = mounted
        self._layouts = layouts
        self._chunks = chunks
        of_all: dict[bytes, Reader] = {b"user.headrace.snapshot": self._snapshot}
        of_files: dict[bytes, Reader] = {
            b"user.headrace.object": self._object,
            b"user.headrace.etag": self._etag,
            b"user.headrace.cached_bytes": self._cached_bytes,
        }
        self._readers: dict[Kind, dict[bytes, Reader]] = {
            Kind.FILE: of_all | of_files,
            Kind.DIRECTORY: of_all,
            Kind.SYMLINK: {},
        }

    def names(self, inode: Inode) -> list[bytes]:
        """Return the attributes that *inode* has."""
        return list(self._readers[inode.kind])

    async def value(self, epoch: int, inode: Inode, name: bytes) -> bytes:
        """Return one attribute's value as text. Raises MissingAttributeError."""
        reader = self._readers[inode.kind].get(name)
        if reader is None:
            raise MissingAttributeError(f"inode {inode.position} has no attribute {name!r}")
        return (await reader(epoch, inode)).encode("utf-8", "surrogateescape")

    async def _snapshot(self, epoch: int, inode: Inode) -> str:
        """The newest snapshot that has the inode: an unchanged file is no older than the mount."""
        newest, _ = await self._mounted.follow(epoch, inode, self._mounted.epoch)
        return (await self._mounted.tree(newest)).snapshot_id

    async def _object(self, epoch: int, inode: Inode) -> str:
        placed = await self._layouts.extents(epoch, inode.position)
        return " ".join(f"{each.object.root}/{each.object.key}" for each in placed)

    async def _etag(self, epoch: int, inode: Inode) -> str:
        """The version of the source's object, of which a packed file is a copy."""
        return inode.version or ""

    async def _cached_bytes(self, epoch: int, inode: Inode) -> str:
        placed = await self._layouts.extents(epoch, inode.position)
        if inode.extent is None:
            return str(sum([await self._bytes_here(each) for each in placed]))
        spans = [piece.span for piece in file_spans(placed, 0, inode.size)]
        here = [span for span in spans if self._chunks.readable(span.chunk)]
        return str(sum(span.stop - span.start for span in here))

    async def _bytes_here(self, extent: PlacedExtent) -> int:
        """Count the bytes of an extent's whole object that are here, in either grain."""
        whole = await self._chunks.readable_chunks(extent.object)
        fine = extent.fine and await self._chunks.readable_chunks(extent.fine.object)
        return bytes_here(extent, whole, fine or {})
