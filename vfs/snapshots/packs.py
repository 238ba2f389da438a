"""Making packs: small files are read from the source side by side and laid end to end.

A pack is collected in an unlinked temporary file and named by what is in it. So a publisher that is
killed leaves whole packs that nobody refers to, which the next one finds and does not upload again.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Final

import anyio
import anyio.lowlevel
import anyio.to_thread
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from cachesvc.chunk import checksum
from cachesvc.errors import first_error
from cachesvc.objectstore.protocol import Body, ObjectStore
from cachesvc.units import MIB
from vfs.manifest.builder import ManifestBuilder
from vfs.manifest.inode import Extent, Inode
from vfs.manifest.packing import Packing
from vfs.manifest.stored import Place, StoredObject
from vfs.manifest.tree import Tree
from vfs.snapshots.hashing import HASH_SIZE, LARGE_READERS, LARGE_SIZE, READERS
from vfs.snapshots.packplan import PackOptions, PackPlan, Pile, SmallFile
from vfs.snapshots.packreuse import PackedBefore
from vfs.snapshots.repository import Repository, pack_key
from vfs.snapshots.spool import temporary_path

PACK_CHUNK_SIZE: Final = 1 * MIB
"""Less than other data: one file brings its neighbours, and a random one costs 43 ms and not 82
(30 ms to the first byte, 80 MB/s). In order, adjacent chunks are one request anyway."""
PACKS_AT_ONCE: Final = 2
"""One is read while another is uploaded; each takes a temporary file of its size."""
_ID_SIZE: Final = 20


class Packer:
    """Packs the small files of one publication."""

    def __init__(
        self,
        store: ObjectStore,
        repository: Repository,
        options: PackOptions,
        done: Callable[[int], None],
    ) -> None:
        """Copy from *store* to *repository*; *done* is called with the bytes that were read."""
        self._store = store
        self._repository = repository
        self._options = options
        self._done = done
        self._packing = Packing()
        self._before: PackedBefore | None = None
        self._large = anyio.Semaphore(LARGE_READERS)
        self.files_packed = 0
        self.packs_made = 0

    async def run(self, builder: ManifestBuilder, before: Tree | None) -> Packing:
        """Pack what is small; what *before* has packed and did not change stays where it is.

        Raises ObjectChangedError when a file is no longer the version that was listed.
        """
        if before is not None:
            self._before = PackedBefore(before, self._repository, self._packing)
        send, receive = anyio.create_memory_object_stream[PackPlan](0)
        try:
            async with anyio.create_task_group() as tasks, receive:
                tasks.start_soon(self._plan, builder, send)
                for _ in range(PACKS_AT_ONCE):
                    tasks.start_soon(self._make_packs, receive.clone())
        except ExceptionGroup as group:
            raise first_error(group) from group
        return self._packing

    async def _plan(
        self, builder: ManifestBuilder, plans: MemoryObjectSendStream[PackPlan]
    ) -> None:
        """Send plans for all that is to be packed anew: what the order names, then the rest."""
        ranks = self._options.order
        pile = Pile()
        async with plans:
            if ranks:
                named = [
                    file
                    for directory, files in builder.files()
                    for file in await self._new(directory, files, ranks.__contains__)
                ]
                named.sort(key=lambda file: ranks[file.path])
                await _add(pile, named, plans)
            for directory, files in builder.files():
                rest = await self._new(directory, files, lambda path: path not in ranks)
                await _add(pile, rest, plans)
                await anyio.lowlevel.checkpoint()
            await _send(pile.rest(), plans)

    async def _new(
        self, directory: bytes, files: Sequence[Inode], chosen: Callable[[bytes], bool]
    ) -> list[SmallFile]:
        """Return which of a directory's files are to be packed anew."""
        prefix = directory + b"/" if directory else b""
        small = [SmallFile(prefix + file.name, file) for file in files if self._options.wants(file)]
        small = [file for file in small if chosen(file.path)]
        return small if self._before is None else await self._before.keep(directory, small)

    async def _make_packs(self, plans: MemoryObjectReceiveStream[PackPlan]) -> None:
        async with plans:
            async for plan in plans:
                await self._make(plan)

    async def _make(self, plan: PackPlan) -> None:
        with temporary_path() as path:
            await self._collect(plan, path)
            pack_id, hashes = await anyio.to_thread.run_sync(digests_of, path)
            size = plan.offsets[-1]
            await self._repository.add_pack(pack_id, size, path)
        stored = StoredObject(Place.REPOSITORY, pack_key(pack_id), size, None, PACK_CHUNK_SIZE)
        number = self._packing.add_object(stored, hashes)
        for file, offset in zip(plan.files, plan.offsets, strict=False):
            self._packing.place(file.inode.position, Extent(number, offset, file.inode.size))
        self.files_packed += len(plan.files)
        self.packs_made += 1

    async def _collect(self, plan: PackPlan, path: Path) -> None:
        """Read all files of a pack into *path*, many at a time."""
        pieces = iter(zip(plan.files, plan.offsets, strict=False))
        with path.open("r+b", buffering=0) as out:
            async with anyio.create_task_group() as tasks:
                for _ in range(READERS // PACKS_AT_ONCE):
                    tasks.start_soon(self._copy, pieces, out.fileno())

    async def _copy(self, pieces: Iterator[tuple[SmallFile, int]], out: int) -> None:
        for file, offset in pieces:  # the iterator is shared: each file goes to one reader
            data = await self._read(file)
            write_at(out, data, offset)
            self._done(len(data))

    async def _read(self, file: SmallFile) -> Body:
        key = file.path.decode("utf-8", "surrogateescape")
        size = file.inode.size
        async with self._large if size > LARGE_SIZE else nullcontext():
            return await self._store.get_range(key, 0, size, file.inode.version)


async def _add(
    pile: Pile, files: Iterable[SmallFile], plans: MemoryObjectSendStream[PackPlan]
) -> None:
    for file in files:
        await _send(pile.add(file), plans)


async def _send(plan: PackPlan | None, plans: MemoryObjectSendStream[PackPlan]) -> None:
    if plan is not None:
        await plans.send(plan)


def write_at(out: int, data: Body, offset: int) -> None:
    """Write all of *data* at *offset* of an open file."""
    rest = memoryview(data)
    while rest:
        written = os.pwrite(out, rest, offset)
        rest, offset = rest[written:], offset + written


def digests_of(path: Path) -> tuple[str, bytes]:
    """Return the id of the pack in *path*, and the little-endian xxh3 of its chunks."""
    whole = hashlib.blake2b(digest_size=_ID_SIZE)
    hashes = []
    with path.open("rb") as pack:
        while chunk := pack.read(PACK_CHUNK_SIZE):
            whole.update(chunk)
            hashes.append(checksum(chunk).to_bytes(HASH_SIZE, "little"))
    return whole.hexdigest(), b"".join(hashes)
