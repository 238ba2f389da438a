"""The environments of one cache directory: opened, recovered or begun anew, and closed cleanly.

The writer's side. Knows the marker's protocol and which files belong together; not what is in them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType

from cachesvc.chunk import MIB
from cachesvc.config import CacheConfig
from cachesvc.errors import CacheDamagedError
from cachesvc.index import Index, new_meta, read_meta
from cachesvc.layout import (
    GENERATION_KEY,
    data_file,
    empty_trash,
    index_path,
    pid_namespace,
    slabs_path,
    store_path,
    wipe,
)
from cachesvc.lmdbenv import Environment, open_writer, translated_errors, writing
from cachesvc.marker import (
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
from cachesvc.slab import CLASSES, SlabClass

INDEX_BYTES_A_CHUNK = 1024
"""Room in the index for one record: some 100 bytes, in pages half full, and copies on write."""
SPARE_BYTES = 64 * MIB


class StoreFiles:
    """The index and the slab environments, open for writing, all of one generation."""

    def __init__(self, config: CacheConfig, crash_point: Callable[[str], None]) -> None:
        """Open what is in the directory, or begin it anew."""
        self._config = config
        self._crash_point = crash_point
        self._boot_id = boot_id()
        with translated_errors(config.directory), ExitStack() as undo:
            config.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            trusted = self._begin()
            try:
                self._open(undo)
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
            for env in self.environments():
                env.sync(True)
            self._close()
            self._mark(Phase.CLEAN, 0)

    def discard(self) -> None:
        """Close and throw the files away."""
        self._close()
        wipe(self._config.directory)

    def environments(self) -> list[Environment]:
        """Return all environments."""
        return [*self.slabs.values(), self.index.env]

    def file_size(self, slabs: SlabClass) -> int:
        """Return the size of a class's file. It never shrinks: deleting leaves free pages in it."""
        return self._size_of(slabs_path(self._config.directory, slabs))

    def total_size(self) -> int:
        """Return the size of all files."""
        index = self._size_of(index_path(self._config.directory))
        return index + sum(map(self.file_size, CLASSES))

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
        meta = read_meta(env) or new_meta(os.urandom(16))
        self.slabs = MappingProxyType(
            {slabs: self._open_slabs(slabs, meta.generation, undo) for slabs in CLASSES}
        )
        self.index = Index(env, meta)
        self._crash_point("open.opened")

    def _open_slabs(self, slabs: SlabClass, generation: bytes, undo: ExitStack) -> Environment:
        path = slabs_path(self._config.directory, slabs)
        env = open_writer(path, self._slabs_map_size(), readahead=False)
        undo.callback(env.close)
        with writing(env) as txn:
            found = txn.get(GENERATION_KEY)
            if found is None:
                txn.put(GENERATION_KEY, generation)
            elif found != generation:
                raise CacheDamagedError(f"cache at {path} belongs to another index")
        return env

    def _close(self) -> None:
        for env in self.environments():
            env.close()

    def _mark(self, phase: Phase, crash_count: int) -> None:
        write_marker(self._config.directory, Marker(phase, self._boot_id, crash_count))

    def _index_map_size(self) -> int:
        return self._config.max_chunks * INDEX_BYTES_A_CHUNK + SPARE_BYTES

    def _slabs_map_size(self) -> int:
        """Return twice the capacity: the map is sparse, and pages that readers pin cost room."""
        return 2 * self._config.size + SPARE_BYTES
