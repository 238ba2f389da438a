"""What is being read in order, within a file and from file to file: it is fetched ahead.

So is what lies between random reads, where there are many.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import trio

from cachesvc.chunk import ChunkId, ObjectRef
from cachesvc.client import Want
from cachesvc.errors import HeadraceError
from cachesvc.units import MIB
from vfs.manifest.inode import Inode, Kind
from vfs.serving.awaited import Awaited, Claim
from vfs.serving.density import DenseRegions, is_dense, is_dense_pack, region_of
from vfs.serving.extent import ExtentSpan, PlacedExtent, file_spans
from vfs.serving.grain import LONE_READ_LIMIT, fine_chunks, is_known, mixed
from vfs.serving.layout import Layouts
from vfs.serving.mounted import MountedSnapshots
from vfs.serving.neighbours import WIDTH_LIMIT, Allowance, Place, Scan, Scans
from vfs.serving.protocol import ReadRequest
from vfs.serving.readahead import ReadaheadWindow
from vfs.serving.recent import Recent
from vfs.serving.tracks import Tracks

FILES_WATCHED = 256
"""Files with windows; the one that was idle longest loses its own."""
REGIONS_REMEMBERED = 256
"""Parts of packs that were fetched whole, 64 MiB each: once is enough, whatever was evicted."""
PLANS_QUEUED = 64
"""Plans that wait for their chunks' hashes; past it plans are dropped: they are only hints."""
LARGEST_NEIGHBOUR = 16 * MIB
"""Files above this size are not fetched before they are opened: they have a window of their own."""
CHUNKS_SEEN = 4
"""So many chunks, all of them here, mean that what follows them is probably here too."""
BATCH_SIZE = 4 * MIB
BATCH_COUNT = 32
"""Bytes and chunks asked for at once: adjacent ones are one range, so several ranges fly side by
side (48 MB/s each with 30 ms to the first byte, of the 80 that one connection yields)."""


class Chunks(Protocol):
    """The node's cache, as far as looking ahead goes."""

    def readable(self, chunk: ChunkId) -> bool:
        """Say whether a chunk is here."""
        ...

    def readable_count(self, ref: ObjectRef, indices: range) -> int:
        """Say how many of an object's chunks are here; past a thousand it may say less."""
        ...

    def prefetch_nowait(self, wants: Sequence[Want]) -> None:
        """Have chunks fetched when there is nothing better to do."""
        ...


@dataclass(frozen=True, slots=True)
class ChunkPlan:
    """Chunks of one file's extent that will be read soon."""

    place: Place
    extent: PlacedExtent
    chunks: range


@dataclass(frozen=True, slots=True)
class FilePlan:
    """Positions of an epoch whose files will be read soon, if they are files."""

    scan: Scan
    epoch: int
    positions: range


class WatchedFile:
    """How one file is read."""

    def __init__(self, extent: PlacedExtent) -> None:
        """Watch the file of *extent*, of which nothing was read yet."""
        stop = -(-(extent.offset + extent.length) // extent.object.chunk_size)
        self.window = ReadaheadWindow(extent.object.chunk_size, stop)
        self.dense = DenseRegions()


class Lookahead:
    """Windows of the files and scans that were read lately.

    Forgetting it all costs time and no byte.
    """

    def __init__(
        self,
        mounted: MountedSnapshots,
        layouts: Layouts,
        chunks: Chunks,
        awaited: Awaited,
        tracks: Tracks,
    ) -> None:
        """Have *chunks* fetch what the windows ask for, from the task that runs `run`.

        Of what others have a part in *awaited* each file is asked for by one of them; *tracks* are
        those of all whose reads together make an order.
        """
        self._mounted = mounted
        self._layouts = layouts
        self._chunks = chunks
        self._awaited = awaited
        self._tracks = tracks
        self._files: OrderedDict[Place, WatchedFile] = OrderedDict()
        self._fetched: Recent[tuple[str, int], bool] = Recent(REGIONS_REMEMBERED)
        self._scans = Scans()
        self._allowance = Allowance()
        self._plans, self._incoming = trio.open_memory_channel[ChunkPlan | FilePlan](PLANS_QUEUED)

    def note(
        self, place: Place, extents: Sequence[PlacedExtent], request: ReadRequest, *, missed: bool
    ) -> None:
        """Learn of a read; *missed* says that its bytes were not here."""
        if not extents:
            return
        extent = extents[0]
        if extent.length > extent.object.chunk_size:
            self._note_range(place, extent, request)
        if request.offset == 0 and extent.length <= LARGEST_NEIGHBOUR:
            self._note_file(place, extent, missed=missed)

    def grained(
        self, place: Place, request: ReadRequest, pieces: Sequence[ExtentSpan]
    ) -> Sequence[ExtentSpan]:
        """Return the chunks to fetch for a read that missed, and was noted just now.

        If it is alone, they are fine ones; what lies around them may be fetched behind its back.
        """
        if not self._is_lone(place, request):
            return pieces
        for piece in pieces:
            self._note_lone(place, piece)
        return list(mixed(pieces, self._chunks.readable))

    def _is_lone(self, place: Place, request: ReadRequest) -> bool:
        """Say whether the last read is alone and not one of several in order."""
        file = self._files.get(place)
        return file is not None and not file.window.in_order and request.size < LONE_READ_LIMIT

    def _note_lone(self, place: Place, piece: ExtentSpan) -> None:
        """Have a chunk fetched into which a read fell before, and a region with many of them."""
        fine = piece.extent.fine
        if fine is None:
            return
        if is_known(piece, self._chunks.readable):
            self._queue(ChunkPlan(place, piece.extent, range(piece.index, piece.index + 1)))
        region = region_of(piece.index, piece.extent.object.chunk_count)
        within = fine_chunks(piece.extent.object, region)
        if is_dense(region, self._chunks.readable_count(fine.object, within)):
            ahead = self._files[place].dense.advance(region)
            if ahead:
                self._queue(ChunkPlan(place, piece.extent, ahead))

    def _note_range(self, place: Place, extent: PlacedExtent, request: ReadRequest) -> None:
        file = self._file(place, extent)
        ahead = file.window.advance(extent.offset + request.offset, request.size)
        if ahead:
            self._queue(ChunkPlan(place, extent, ahead))

    def _note_file(self, place: Place, extent: PlacedExtent, *, missed: bool) -> None:
        size, was_awaited = extent.length, self._awaited.release(place)
        self._allowance.note(size, was_awaited=was_awaited)
        self._tracks.add(place, waited=missed or was_awaited)
        scan = self._scans.find(place, missed=missed) or self._scans.begin(place, size)
        scan.note(place[1], size)
        if missed:
            scan.missed()
        if not scan.is_due:
            return
        if self._tracks.leads_to(place) or (missed and self._leads(place)):
            self._queue(FilePlan(scan, place[0], scan.extend()))
        elif missed and extent.is_packed:
            self._note_packed(place, extent)

    def _note_packed(self, place: Place, extent: PlacedExtent) -> None:
        """Have a region of a pack fetched of which much is here, though it is read in no order."""
        pack = extent.object
        region = region_of(extent.offset // pack.chunk_size, pack.chunk_count)
        asked = pack.key, region.start
        if not self._fetched.get(asked) and is_dense_pack(
            region, self._chunks.readable_count(pack, region)
        ):
            self._fetched.put(asked, self._queue(ChunkPlan(place, extent, region)))

    def _leads(self, place: Place) -> bool:
        """Say whether a file is the first of its directory, where whoever listed it begins."""
        epoch, position = place
        tree = self._mounted.tree_nowait(epoch)
        if tree is None:
            return False
        try:
            file, before = tree.inode_nowait(position), tree.inode_nowait(position - 1)
        except HeadraceError:  # a damaged neighbour is no business of this file's reader
            return False
        if file is None or before is None:
            return False
        return before.kind is not Kind.FILE or before.parent != file.parent

    def _queue(self, plan: ChunkPlan | FilePlan) -> bool:
        """Have a plan carried out; False where too many wait."""
        has_room = self._plans.statistics().current_buffer_used < PLANS_QUEUED
        if has_room:
            self._plans.send_nowait(plan)
        return has_room

    async def run(self) -> None:
        """Turn plans into prefetches for ever.

        What goes wrong here goes wrong again for the reader, who is told.
        """
        async for plan in self._incoming:
            try:
                if isinstance(plan, ChunkPlan):
                    await self._fetch_chunks(plan)
                else:
                    await self._fetch_files(plan)
            except HeadraceError:
                continue

    async def _fetch_chunks(self, plan: ChunkPlan) -> None:
        """Ask for each chunk by itself, so that they come side by side.

        As one range they come at the speed of one connection: by a model with 30 ms to the first
        byte and 80 MB/s each, 150 MB take 0.56 s joined and 0.35 s apart.
        """
        for index in plan.chunks:
            if not self._chunks.readable(plan.extent.object.chunk_id(index)):
                want = await self._layouts.want(*plan.place, plan.extent, index)
                self._chunks.prefetch_nowait([want])

    async def _fetch_files(self, plan: FilePlan) -> None:
        """Ask for what is not here of the files, and was not asked for by anybody.

        A scan to which nothing is missing rests, if that was looked for in several places: one
        chunk of a pack, which the first of its files brought, has the next ones as well.
        """
        tree = await self._mounted.tree(plan.epoch)
        batch: dict[ChunkId, Want] = {}
        seen: set[ChunkId] = set()
        warm = True
        stop = min(plan.positions.stop, tree.superblock.inode_count + 1)
        now = time.monotonic()
        for position in range(plan.positions.start, stop):
            place = plan.epoch, position
            # First of all: what another worker plans need not be looked at, half of the planning.
            is_read = self._tracks.has(place)
            claim = Claim.REFUSED if is_read else self._awaited.claim(place, now)
            if claim is Claim.REFUSED:
                warm = False
                continue
            inode = tree.inode_nowait(position) or await tree.inode(position)
            pieces = await self._pieces(place, inode) if is_neighbour(inode) else []
            seen.update(piece.span.chunk for piece in pieces)
            missing = [each for each in pieces if not self._chunks.readable(each.span.chunk)]
            if not missing:
                if claim is Claim.GRANTED:
                    self._awaited.release(place)
                continue
            warm = False
            if not self._allowance.take(inode.size):
                self._awaited.release(place)
                break
            await self._add(batch, place, missing)
        self._send(batch)
        plan.scan.warm = warm and (len(seen) >= CHUNKS_SEEN or len(plan.positions) == WIDTH_LIMIT)

    async def _add(
        self, batch: dict[ChunkId, Want], place: Place, pieces: Sequence[ExtentSpan]
    ) -> None:
        """Add the chunks of *pieces* to a batch, and send it when it is worth that."""
        for piece in pieces:
            if piece.span.chunk not in batch:
                want = await self._layouts.want(*place, piece.extent, piece.index)
                batch[piece.span.chunk] = want
        if is_full(batch):
            self._send(batch)

    async def _pieces(self, place: Place, file: Inode) -> list[ExtentSpan]:
        extents = self._layouts.extents_nowait(*place) or await self._layouts.extents(*place)
        return list(file_spans(extents, 0, file.size))

    def _send(self, batch: dict[ChunkId, Want]) -> None:
        """Ask for a batch and begin the next."""
        if batch:
            self._chunks.prefetch_nowait(list(batch.values()))
            batch.clear()

    def _file(self, place: Place, extent: PlacedExtent) -> WatchedFile:
        file = self._files.pop(place, None)
        if file is None:
            file = WatchedFile(extent)
            if len(self._files) >= FILES_WATCHED:
                self._files.popitem(last=False)
        self._files[place] = file
        return file


def is_neighbour(inode: Inode) -> bool:
    """Say whether an inode is fetched when those before it are read."""
    return inode.kind is Kind.FILE and 0 < inode.size <= LARGEST_NEIGHBOUR


def is_full(batch: Mapping[ChunkId, Want]) -> bool:
    """Say whether a batch is worth sending."""
    if len(batch) >= BATCH_COUNT:
        return True
    spans = (want.ref.chunk_range(want.index) for want in batch.values())
    return sum(stop - start for start, stop in spans) >= BATCH_SIZE
