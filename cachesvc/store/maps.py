"""A cache's environments as one process has them open for reading: once, however many readers.

LMDB knows readers by their process, and py-lmdb opens no file twice in one, nor in a child of one
that has it open; to close it there would take the parent's place in LMDB's table of readers. So
they are shared, and closed for the moment of a fork: both sides open their own.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from threading import Condition, Lock

from cachesvc.errors import CacheDamagedError, CacheUnusableError
from cachesvc.store.index import Meta, read_meta
from cachesvc.store.layout import GENERATION_KEY, data_file, index_path, pid_namespace, slabs_path
from cachesvc.store.lmdbenv import Environment, open_reader, translated_errors, viewing
from cachesvc.store.paging import Paging
from cachesvc.store.slab import CLASSES, SlabClass

FORK_SECONDS = 1.0
"""How long a fork waits for blocks that read. After that its child has to do without the map."""

Files = tuple[tuple[int, int], ...]


class Maps:
    """The environments of one generation of a cache, and how many blocks use them now."""

    def __init__(self, directory: Path) -> None:
        """Open what the service keeps in *directory*."""
        self.index: Environment
        self.slabs: dict[SlabClass, Environment]
        self.generation: bytes
        self.files: Files
        self.reader_count = 0
        self.is_inherited = False
        """Set in a child of the process that opened them: it must leave them alone."""
        self._directory = directory
        self._changed = Condition(Lock())
        self._block_count = 0
        self._closing = False
        self._suspended = False
        self._map_grew = False
        self._is_open = False
        self._open()

    @property
    def is_closing(self) -> bool:
        """Say whether there is nothing to read here any more."""
        return self._closing

    def enter(self) -> None:
        """Keep the maps where they are until `leave`."""
        if self.is_inherited:
            raise CacheUnusableError("this reader of the cache is another process's")
        with self._changed:
            if self._suspended:
                self._changed.wait_for(lambda: not self._suspended, FORK_SECONDS)
            if self._closing or self._suspended:
                raise CacheUnusableError("this reader of the cache is closed")
            self._block_count += 1

    def leave(self, *, map_grew: bool) -> None:
        """End what `enter` began; say whether the writer was found to have made a map larger."""
        with self._changed:
            self._block_count -= 1
            self._map_grew |= map_grew
            self._settle()
            if self._suspended:
                self._changed.notify_all()

    def close(self) -> None:
        """Close as soon as no block is open."""
        with self._changed:
            self._closing = True
            self._settle()

    def suspend(self) -> None:
        """Close for a moment, once no block is open; new ones wait for `resume`."""
        with self._changed:
            self._suspended = True
            self._changed.wait_for(lambda: not self._block_count, FORK_SECONDS)
            if not self._block_count:
                self._close_all()

    def resume(self) -> None:
        """Open again after `suspend`, unless other files lie there now."""
        with self._changed:
            if not (self._is_open or self._closing):
                self._reopen()
            self._suspended = False
            self._changed.notify_all()

    def _reopen(self) -> None:
        files = self.files
        try:
            self._open()
            self._closing = self.files != files
        except CacheUnusableError:
            self._closing = True
        self._settle()

    def _open(self) -> None:
        with translated_errors(self._directory), ExitStack() as undo:
            index = _opened(index_path(self._directory), undo, readahead=True)
            generation = _usable_meta(index).generation
            files = identities(self._directory)
            slabs = {
                c: _opened(slabs_path(self._directory, c), undo, readahead=False) for c in CLASSES
            }
            for env in slabs.values():
                _require_generation(env, generation)
            self.paging = Paging(self._directory)
            undo.pop_all()
        self.index, self.slabs, self.generation, self.files = index, slabs, generation, files
        self._is_open = True

    def _settle(self) -> None:
        """Do what leaves views dangling, if nobody holds one."""
        if self._block_count:
            return
        if self._closing and self._is_open:
            self._close_all()
        elif self._map_grew:
            for env in self._all():
                env.set_mapsize(0)
        self._map_grew = False

    def _close_all(self) -> None:
        self._is_open = False
        self.paging.close()
        for env in self._all():
            env.close()

    def _all(self) -> tuple[Environment, ...]:
        return (self.index, *self.slabs.values())


def identities(directory: Path) -> Files:
    """Return what tells the files in the directory from others that lay or will lie there."""
    paths = [index_path(directory), *(slabs_path(directory, slabs) for slabs in CLASSES)]
    found = [data_file(path).stat() for path in paths]
    return tuple((status.st_dev, status.st_ino) for status in found)


def _opened(path: Path, undo: ExitStack, *, readahead: bool) -> Environment:
    env = open_reader(path, readahead=readahead)
    undo.callback(env.close)
    return env


def _usable_meta(index: Environment) -> Meta:
    """Return the meta record, if its writer can tell whether this process lives."""
    meta = read_meta(index)
    if meta is None:
        raise CacheUnusableError(f"no cache at {index.path()} yet: start the cache service")
    if meta.pid_namespace != pid_namespace():
        raise CacheUnusableError(
            f"cache at {index.path()} belongs to a service in another PID namespace: "
            "share the namespace, or read through a mount"
        )
    return meta


def _require_generation(env: Environment, generation: bytes) -> None:
    with viewing(env) as txn:
        found = txn.get(GENERATION_KEY)
        if found is None or bytes(found) != generation:
            raise CacheDamagedError(f"cache at {env.path()} is just being made anew: open it again")


class _Shared:
    """What this process has open, by which files they are."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.maps: dict[Files, Maps] = {}

    def before_fork(self) -> None:
        self.lock.acquire()
        for maps in self.maps.values():
            maps.suspend()

    def after_in_parent(self) -> None:
        for maps in self.maps.values():
            maps.resume()
        self.lock.release()

    def after_in_child(self) -> None:
        for maps in self.maps.values():
            maps.is_inherited = True
        self.maps = {}
        self.lock.release()


_shared = _Shared()
os.register_at_fork(
    before=_shared.before_fork,
    after_in_parent=_shared.after_in_parent,
    after_in_child=_shared.after_in_child,
)


def shared_maps(directory: Path) -> Maps:
    """Return the maps of a cache, opened if this process has them not; `release` them once."""
    with _shared.lock:
        known = _shared.maps.get(_identities_if_any(directory))
        if known is None or known.is_closing:
            known = Maps(directory)
            _shared.maps[known.files] = known
        known.reader_count += 1
        return known


def release(maps: Maps) -> None:
    """Let go of maps; the last one who does closes them."""
    with _shared.lock:
        maps.reader_count -= 1
        if not maps.reader_count and not maps.is_inherited:
            maps.close()
            # By what they were called when they were opened first: a fork may have met other files.
            _shared.maps = {files: each for files, each in _shared.maps.items() if each is not maps}


def _identities_if_any(directory: Path) -> Files:
    try:
        return identities(directory)
    except OSError:
        return ()
