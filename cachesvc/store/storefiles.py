"""The environments of one cache directory: opened, recovered or begun anew, and closed cleanly.

The writer's side. Knows the marker's protocol and which files belong together; not what is in them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from functools import partial
from itertools import islice
from pathlib import Path

from cachesvc.chunk import ChunkId
from cachesvc.config import CacheConfig
from cachesvc.errors import CacheDamagedError
from cachesvc.store.filemap import FileMap
from cachesvc.store.index import Index, new_meta, read_meta
from cachesvc.store.layout import (
    GENERATION_KEY,
    data_file,
    empty_trash,
    index_path,
    pid_namespace,
    slabs_path,
    store_path,
    throw_away,
    trash_path,
    wipe,
)
from cachesvc.store.lmdbenv import (
    Environment,
    ViewTransaction,
    open_writer,
    translated_errors,
    viewing,
    writing,
)
from cachesvc.store.marker import (
    Marker,
    Phase,
    Verdict,
    boot_id,
    crashes_in_a_row,
    read_marker,
    take_crash_log,
    verdict,
    write_marker,
)
from cachesvc.store.paging import Paging
from cachesvc.store.place import SlabRun, runs_of_chunks, slab_runs
from cachesvc.store.slab import CLASSES, PAGE_SIZE, SlabClass, class_of, slab_keys
from cachesvc.store.valuepages import value_pages
from cachesvc.units import MIB

INDEX_BYTES_A_CHUNK = 1024
"""Room in the index for one record: some 100 bytes, in pages half full, and copies on write."""
SPARE_BYTES = 64 * MIB
MAX_KEPT_BACK = 16 * MIB
COMPACT_SHARE = 8
"""Free pages worth rewriting a file for: an eighth of the capacity."""
PLACED_TOGETHER = 1024
"""Records that tell in one commit where their slabs have gone; 100,000 take 0.5 s."""


class StoreFiles:
    """The index and the slab environments, open for writing, all of one generation."""

    def __init__(self, config: CacheConfig, crash_point: Callable[[str], None]) -> None:
        """Open what is in the directory, or begin it anew."""
        self._config = config
        self._crash_point = crash_point
        self._boot_id = boot_id()
        self._file_maps: dict[SlabClass, FileMap] = {}
        with translated_errors(config.directory), ExitStack() as undo:
            config.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            trusted = self._begin()
            try:
                self._open(undo)
                self._note_places()
            except CacheDamagedError:
                undo.close()
                wipe(config.directory)
                self._open(undo)
            self.index.begin_run(pid_namespace(), trusted=trusted)
            undo.pop_all()

    def opened(self) -> None:
        """Say that opening and recovery are done: a crash from now on is not one while opening."""
        self._mark(Phase.DIRTY, self._crash_count)

    def close(self) -> None:
        """Stop cleanly: everything on disk, then the marker that says so."""
        with translated_errors(self._config.directory):
            try:
                for env in self.environments():
                    env.sync(True)
            finally:
                self.release()
            self._mark(Phase.CLEAN, 0)

    def discard(self) -> None:
        """Close and throw the files away."""
        self.release()
        with translated_errors(self._config.directory):
            wipe(self._config.directory)

    def release(self) -> None:
        """Close without a word, as the death of the process would."""
        self.paging.close()
        for env in self.environments():
            env.close()

    def environments(self) -> list[Environment]:
        """Return all environments."""
        return [*self.slabs.values(), self.index.env]

    def slab_runs(self, lengths: Mapping[ChunkId, int]) -> dict[ChunkId, tuple[SlabRun, ...]]:
        """Return where the slabs of chunks lie that are so long, and stored."""
        found: dict[ChunkId, tuple[SlabRun, ...]] = {}
        for slabs, env in self.slabs.items():
            ours = {chunk: length for chunk, length in lengths.items() if class_of(length) is slabs}
            if ours:
                with viewing(env) as txn:
                    find = partial(_runs_of, txn, self._file_maps[slabs])
                    found |= {chunk: find(chunk, length) for chunk, length in ours.items()}
        return found

    def file_size(self, slabs: SlabClass) -> int:
        """Return the size of a class's file. It never shrinks: deleting leaves free pages in it."""
        return self._size_of(slabs_path(self._config.directory, slabs))

    def free_size(self, slabs: SlabClass) -> int:
        """Return how much a class's file can take in without growing.

        The last two commits free pages that only the next ones may use: those are kept back.
        """
        pages = self.slabs[slabs].stat()
        count = pages["branch_pages"] + pages["leaf_pages"] + pages["overflow_pages"]
        used = count * PAGE_SIZE + min(self._config.size // 32, MAX_KEPT_BACK)
        return max(0, self.file_size(slabs) - used)

    def disk_free(self) -> int:
        """Return what the file system has left for a user."""
        with translated_errors(self._config.directory):
            status = os.statvfs(self._config.directory)
        return status.f_bavail * status.f_frsize

    @property
    def max_size(self) -> int:
        """What the files of slabs may grow to: the capacity, and pages that are free for now."""
        return self._config.size * 5 // 4 + SPARE_BYTES

    def total_size(self) -> int:
        """Return the size of all files."""
        return self.slabs_size() + self._size_of(index_path(self._config.directory))

    def slabs_size(self) -> int:
        """Return the size of the files of slabs."""
        return sum(map(self.file_size, CLASSES))

    def compact(self) -> bool:
        """Give back the free pages of the class that has most of them; False if they are few.

        A class whose chunks were all evicted for those of the other would keep its disk for ever.
        Its readers must open anew: this is another generation.
        """
        slabs = max(CLASSES, key=self.free_size)
        free = self.free_size(slabs)
        if free * COMPACT_SHARE < self._config.size:
            return False
        if self.disk_free() - (self.file_size(slabs) - free) < self._config.free_floor:
            return False  # the copy comes before the old file goes
        with translated_errors(self._config.directory):
            self._rewrite(slabs)
        return True

    def _size_of(self, environment: Path) -> int:
        with translated_errors(environment):
            return data_file(environment).stat().st_size

    def _begin(self) -> bool:
        """Wipe what cannot be used, say that a run begins; return whether the rest is trusted."""
        directory = self._config.directory
        last = read_marker(directory)
        self._crash_count = crashes_in_a_row(last, crash_logged=take_crash_log(directory))
        judged = verdict(last, self._boot_id, self._crash_count)
        if judged is Verdict.WIPE:
            wipe(directory)
            self._crash_count = 0
        empty_trash(directory)
        self._mark(Phase.OPENING, self._crash_count)
        self._crash_point("open.marked")
        return judged is not Verdict.VERIFY

    def _open(self, undo: ExitStack) -> None:
        store_path(self._config.directory).mkdir(mode=0o700, exist_ok=True)
        env = open_writer(
            index_path(self._config.directory), self._index_map_size(), readahead=True
        )
        undo.callback(env.close)
        found = read_meta(env)
        meta = found or new_meta(_new_generation())
        self.slabs: Mapping[SlabClass, Environment] = {}
        for slabs in CLASSES:
            opened = self._open_slabs(slabs)
            undo.callback(opened.close)
            self.slabs = {**self.slabs, slabs: opened}
            _require_generation(opened, meta.generation, is_new=found is None)
        self.index = Index(env, meta)
        self.paging = Paging(self._config.directory)
        undo.callback(self.paging.close)
        self._crash_point("open.opened")

    def _open_slabs(self, slabs: SlabClass) -> Environment:
        path = slabs_path(self._config.directory, slabs)
        self._file_maps[slabs] = FileMap()
        return open_writer(path, self._slabs_map_size(), readahead=False)

    def _rewrite(self, slabs: SlabClass) -> None:
        """Replace a class's file by a copy without free pages, and begin a new generation.

        A crash in between leaves environments of two generations, which the next start wipes.
        """
        path = slabs_path(self._config.directory, slabs)
        copy = self._copied(self.slabs[slabs])
        self._crash_point("compact.copied")
        self.index.begin_moving(slabs.name)
        self.slabs[slabs].close()
        throw_away(self._config.directory, path)
        copy.rename(path)
        self._crash_point("compact.swapped")
        self.slabs = {**self.slabs, slabs: self._open_slabs(slabs)}
        old, self.paging = self.paging, Paging(self._config.directory)
        old.close()
        self._note_places()
        generation = _new_generation()
        for env in self.slabs.values():
            _write_generation(env, generation)
        self._crash_point("compact.named")
        self.index.begin_generation(generation)

    def _note_places(self) -> None:
        """Have records tell where slabs lie of a class that has a new file."""
        name = self.index.moving
        if name is None:
            return
        (slabs,) = (each for each in CLASSES if each.name == name)
        path = data_file(slabs_path(self._config.directory, slabs))
        with closing(value_pages(path)) as places:
            chunks = runs_of_chunks(slabs, places)
            while some := dict(islice(chunks, PLACED_TOGETHER)):
                self.index.place(some)
                self._crash_point("compact.placing")
        self.index.end_moving()

    def _copied(self, env: Environment) -> Path:
        """Copy an environment to where it counts as thrown away until it is moved into place."""
        copy = trash_path(self._config.directory)
        copy.mkdir(mode=0o700)
        try:
            env.copy(str(copy), compact=True)
        except BaseException:
            empty_trash(self._config.directory)
            raise
        return copy

    def _mark(self, phase: Phase, crash_count: int) -> None:
        write_marker(self._config.directory, Marker(phase, self._boot_id, crash_count))

    def _index_map_size(self) -> int:
        return self._config.max_chunks * INDEX_BYTES_A_CHUNK + SPARE_BYTES

    def _slabs_map_size(self) -> int:
        """Return twice the capacity: the map is sparse, and pages that readers pin cost room."""
        return 2 * self._config.size + SPARE_BYTES


def _runs_of(
    txn: ViewTransaction, file_map: FileMap, chunk: ChunkId, length: int
) -> tuple[SlabRun, ...]:
    keys = list(slab_keys(chunk, length))

    def page_of(number: int) -> int:
        slab = txn.get(keys[number])
        return 0 if slab is None else file_map.offset_of(slab) // PAGE_SIZE

    return slab_runs(class_of(length), len(keys), page_of)


def _new_generation() -> bytes:
    return os.urandom(16)


def _write_generation(env: Environment, generation: bytes) -> None:
    with writing(env) as txn:
        txn.put(GENERATION_KEY, generation)


def _require_generation(env: Environment, generation: bytes, *, is_new: bool) -> None:
    """Refuse slabs that belong to another index, or that are gone while their index is there."""
    with writing(env) as txn:
        found = txn.get(GENERATION_KEY)
    if found is None and is_new:
        _write_generation(env, generation)
    elif found != generation:
        raise CacheDamagedError(f"cache at {env.path()} belongs to another index")
