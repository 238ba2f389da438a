"""The cache service of one directory: puts the parts together and keeps them in place."""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import anyio
import anyio.abc
import anyio.to_thread

from cachesvc.admin import collect, describe, verify_all
from cachesvc.config import CacheConfig
from cachesvc.errors import CacheBusyError, CacheUnusableError
from cachesvc.fill.cache import ChunkCache
from cachesvc.fill.committer import Committer
from cachesvc.fill.gate import FetchGate
from cachesvc.fill.intake import Intake
from cachesvc.fill.lease import Leases
from cachesvc.fill.planfiller import PlanFiller
from cachesvc.fill.plans import Plans
from cachesvc.fill.prefetch import PrefetchQueue
from cachesvc.fill.residents import Residents, Watermarks
from cachesvc.fill.sources import Sources
from cachesvc.heap import give_back_when_idle
from cachesvc.lock import ServiceLock
from cachesvc.metrics import Metrics
from cachesvc.objectstore.open import import_usual_engine, open_store
from cachesvc.objectstore.origin import Origin
from cachesvc.objectstore.protocol import ObjectStore
from cachesvc.objectstore.retry import RetryingStore, RetryPolicy
from cachesvc.server import CacheServer
from cachesvc.store.chunkstore import ChunkStore
from cachesvc.store.eviction import EvictionPolicy
from cachesvc.store.layout import data_file, index_path
from cachesvc.store.nextuse import NextUsePolicy, Schedule
from cachesvc.unixsocket import socket_address

log = logging.getLogger(__name__)

FileIdentity: TypeAlias = tuple[int, int] | None

LEASE_SECONDS = 10.0
_LEASED_SHARE = 4
"""Leases hold at most this part (a quarter) of the capacity, so that there is always a victim."""

_WATCH_SECONDS = 1.0
_LISTEN_BACKLOG = 1024


class CacheService:
    """Everything that runs in the service's process. `run` is its life."""

    def __init__(self, config: CacheConfig, lock: ServiceLock) -> None:
        """Take over the lock on the directory."""
        self._config = config
        self._lock = lock
        self._metrics = Metrics()
        self._intake = Intake(config.queued_fills)
        self._gate = FetchGate(config.fetches, config.fetch_bytes)
        self._plans = Plans(Watermarks.of(config.size).low)
        self._committer = Committer(
            self._open_store, partial(new_residents, config, self._plans), self._metrics
        )
        self._store_files: FileIdentity = None
        self._sources = Sources(_open_source)
        self._started_at = time.monotonic()
        self._stopping = anyio.Event()
        self._listening = anyio.CancelScope()

    async def run(self, ready: Callable[[], None]) -> None:
        """Serve until told to stop, by a signal or a client; *ready* is called once that begins."""
        async with anyio.create_task_group() as tasks:
            await tasks.start(self._committer.run)
            gc.freeze()  # else each full collection looks through all chunks: 0.4 s for a million
            cache = ChunkCache(self._committer, self._gate, tasks, self._metrics)
            filler = self._plan_filler(cache)
            tasks.start_soon(filler.run)
            prefetch = self._prefetch_queue(cache, filler)
            tasks.start_soon(prefetch.run)
            server = self._server(cache, prefetch, filler, tasks)
            self._listener = listen(self._config)
            tasks.start_soon(self._serve, server)
            tasks.start_soon(self._watch_files)
            tasks.start_soon(give_back_when_idle, self._metrics)
            tasks.start_soon(self._await_signal)
            ready()
            # Who had it started is not ready yet: the first fill need not wait 20 ms for this.
            tasks.start_soon(anyio.to_thread.run_sync, import_usual_engine)
            await self._stopping.wait()
            tasks.cancel_scope.cancel()
        await self._sources.aclose()
        if self._lock.is_in_place():  # else the socket is that of the service that took over
            self._config.socket.unlink(missing_ok=True)
        self._lock.close()

    def _prefetch_queue(self, cache: ChunkCache, filler: PlanFiller) -> PrefetchQueue:
        """Return what works off guesses: what was announced waits for no more of them."""
        max_count = max(1, self._config.fetches * 3 // 4)
        return PrefetchQueue(cache, filler.is_announced, self._metrics, max_count)

    def _plan_filler(self, cache: ChunkCache) -> PlanFiller:
        """Return what works off the plans, so many steps at a time that some wait at the gate.

        Others wait for the committer by then, and hold no range any more.
        """
        return PlanFiller(
            self._plans,
            cache,
            self._committer,
            self._metrics,
            max_count=2 * self._config.fetches,
            max_size=self._config.fetch_bytes,
        )

    def _server(
        self,
        cache: ChunkCache,
        prefetch: PrefetchQueue,
        filler: PlanFiller,
        tasks: anyio.abc.TaskGroup,
    ) -> CacheServer:
        """Return the server of this service."""
        return CacheServer(
            cache=cache,
            prefetch=prefetch,
            plans=filler,
            committer=self._committer,
            sources=self._sources,
            intake=self._intake,
            tasks=tasks,
            metrics=self._metrics,
            directory=self._config.directory,
            topics={
                "stats": self._stats,
                "verify": partial(verify_all, self._committer),
                "gc": partial(collect, self._committer, self._config),
                "stop": self._stop,
            },
        )

    def _open_store(self) -> ChunkStore:
        """Open the store, in the committer's thread, and remember which files it has."""
        store = ChunkStore(self._config)
        self._store_files = _store_files(self._config)
        return store

    async def _stats(self) -> dict[str, Any]:
        """Return what an operator may want to know."""
        try:
            store = await self._committer.ask(describe)
        except CacheUnusableError as error:
            store = {"unusable": str(error)}
        return {
            "directory": str(self._config.directory),
            "capacity_bytes": self._config.size,
            "pid": os.getpid(),
            "uptime_seconds": round(time.monotonic() - self._started_at, 3),
            "chunks_asked_for_now": self._intake.count,
            "bytes_in_flight_now": self._gate.size,
            "reads_announced_now": self._plans.use_count,
            "chunks_planned_now": self._committer.residents.planned_count,
            **store,
            **self._metrics.as_dict(),
        }

    async def _stop(self) -> dict[str, Any]:
        """End the service; its answer may or may not arrive before that."""
        self._stopping.set()
        return {"stopping": True}

    async def _await_signal(self) -> None:
        """End the service cleanly when it is asked to terminate."""
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async for _ in signals:
                self._stopping.set()

    # The directory may be taken away from under the service ------------------------------------

    async def _serve(self, server: CacheServer) -> None:
        """Listen, and listen anew when the socket was taken away; clients that are here stay."""
        while True:
            with anyio.CancelScope() as self._listening:
                await server.serve(self._listener)

    async def _watch_files(self) -> None:
        """Put back what was deleted: lock, socket and store."""
        while True:
            await anyio.sleep(_WATCH_SECONDS)
            try:
                self._restore_socket()
                self._restore_store()
            except CacheBusyError:
                log.warning("another service took over %s; stopping", self._config.directory)
                self._stopping.set()
            except (CacheUnusableError, OSError) as error:
                log.warning("the cache directory cannot be put back: %s", error)

    def _restore_socket(self) -> None:
        """Take the lock again and listen again, if the directory was replaced or emptied."""
        if not self._lock.is_in_place():
            old, self._lock = self._lock, ServiceLock(self._config)
            old.close()
            self._config.socket.unlink(missing_ok=True)
        if not self._config.socket.exists():
            log.warning("%s was deleted; listening anew", self._config.socket)
            self._listener = listen(self._config)
            self._listening.cancel()

    def _restore_store(self) -> None:
        """Have the store opened anew if its files are not the ones that it has open."""
        opened = self._store_files
        if opened is not None and _store_files(self._config) != opened:
            log.warning("the cache in %s was taken away; beginning anew", self._config.directory)
            self._store_files = None
            self._committer.directory_moved()


def new_residents(config: CacheConfig, schedule: Schedule) -> Residents:
    """Return the book-keeping of an empty store."""
    policy = NextUsePolicy(EvictionPolicy(config.size, config.max_chunks), schedule)
    return Residents(policy, Leases(config.size // _LEASED_SHARE, LEASE_SECONDS), config.size)


def listen(config: CacheConfig) -> socket.socket:
    """Return a listening socket that only this user can connect to, in the place of a stale one."""
    config.socket.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.setblocking(False)
    before = os.umask(0o177)
    try:
        with socket_address(config.socket) as address:
            listener.bind(address)
    finally:
        os.umask(before)
    listener.listen(_LISTEN_BACKLOG)
    return listener


def _open_source(origin: Origin, deadline_seconds: float) -> ObjectStore:
    """Open an origin with all retries and deadlines around it."""
    return RetryingStore(open_store(origin), RetryPolicy(deadline_seconds=deadline_seconds))


def _store_files(config: CacheConfig) -> FileIdentity:
    """Return which files the store in the directory has, None when it has none."""
    try:
        status = data_file(index_path(config.directory)).stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
