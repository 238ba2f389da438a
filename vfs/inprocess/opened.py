"""The snapshots that this process has open, and what becomes of them in a fork.

Threads, sockets and LMDB's environments do not survive a fork: a child leaves everything of its
parent alone, closing none of it, and opens anew what it uses.
"""

from __future__ import annotations

import logging
import os
import time
from functools import partial
from threading import Lock

import anyio

from cachesvc.client import CacheClient
from cachesvc.errors import CacheServiceError
from cachesvc.objectstore.origin import Origin
from cachesvc.spawn import ensure_service
from vfs.inprocess.announcing import Announcer
from vfs.inprocess.content import EPOCH, LOOP_GRACE_SECONDS, Content
from vfs.inprocess.lookingahead import LookingAhead
from vfs.inprocess.loopthread import LoopThread, RunningTask
from vfs.inprocess.namespace import Namespace
from vfs.inprocess.questions import MappedManifest, Piece, Questions
from vfs.inprocess.spec import DatasetSpec
from vfs.serving.awaited import shared_awaited
from vfs.serving.extent import REPOSITORY, SOURCE
from vfs.serving.layout import Layouts
from vfs.serving.manifestsource import CachedManifest, open_tree
from vfs.serving.mounted import MountedSnapshots
from vfs.snapshots.repository import StoredSnapshot

log = logging.getLogger(__name__)

PAUSES = (0.02, 0.2, 1.0)
"""Seconds between attempts to connect for the first time. A connection that was lost is made again
for ever."""


class OpenSnapshot:
    """One snapshot as one process reads it: its names and its files' bytes. Thread-safe."""

    def __init__(self, spec: DatasetSpec, found: StoredSnapshot, loop: LoopThread) -> None:
        """Connect to the node's cache, started if need be, and read the manifest's head.

        Raises what keeps the service from starting, and ManifestError leaves.
        """
        dataset = spec.request.resolve()
        roots = {SOURCE: dataset.source.root, REPOSITORY: dataset.repository.root}
        self.source = roots[SOURCE]
        """The identity of the place that the dataset lies in."""
        self.is_gone = False
        """Set when it is another process's, or closed: open it anew."""
        client = _client(spec, (dataset.source, dataset.repository))
        self._running = _connected(client, loop)
        history = _OneSnapshot(found)
        questions = _questions(client, loop, roots[REPOSITORY], found, spec.deadline_seconds)
        opener = partial(open_tree, questions.manifest, roots[SOURCE], roots[REPOSITORY])
        mounted = MountedSnapshots(history, opener)
        try:
            tree = questions.ask(lambda: mounted.tree(EPOCH))
        except BaseException:
            self._running.end()
            raise
        self.names = Namespace(tree, questions)
        # In the cache's directory, as whoever reads the same has that: it goes when the cache does.
        awaited = shared_awaited(spec.cache.directory, found.snapshot_id)
        self._ahead = LookingAhead(history, roots, client, loop, awaited)
        self.content = Content(
            layouts=Layouts(mounted, roots),
            questions=questions,
            client=client,
            ahead=self._ahead,
            loop=loop,
            deadline_seconds=spec.deadline_seconds,
        )
        self.announcer = Announcer(self.content, client, self._ahead, loop)

    def close(self) -> None:
        """Let go of the cache. Reads that are under way fail in the end."""
        if not self.is_gone:
            self.is_gone = True
            self._ahead.end()
            self._running.end()


class _OneSnapshot:
    """A history (`vfs.serving.mounted.History`) in which nothing is ever switched."""

    current = EPOCH

    def __init__(self, found: StoredSnapshot) -> None:
        self._found = found

    def snapshot(self, epoch: int) -> StoredSnapshot:
        """Return the one that there is."""
        return self._found


class OpenSnapshots:
    """All that one process has open, each once, and its loop."""

    def __init__(self) -> None:
        """Have nothing open."""
        self._lock = Lock()
        self._loop: LoopThread | None = None
        self._open: dict[tuple[DatasetSpec, StoredSnapshot], OpenSnapshot] = {}

    def get(self, spec: DatasetSpec, found: StoredSnapshot) -> OpenSnapshot:
        """Return the snapshot *found* of *spec*, opened if need be."""
        with self._lock:
            known = self._open.get((spec, found))
            if known is None or known.is_gone:
                if self._loop is None:
                    self._loop = LoopThread()
                known = self._open[spec, found] = OpenSnapshot(spec, found, self._loop)
            return known

    def close(self) -> None:
        """Close all; what is used again is opened anew."""
        with self._lock:
            for each in self._open.values():
                each.close()
            self._open.clear()

    def abandon(self) -> None:
        """Use nothing of this any more, and close nothing: it is the parent's."""
        for each in self._open.values():
            each.is_gone = True


_generations = [OpenSnapshots()]
"""Last what is this process's. Before it the ancestors', kept so that nothing of it is freed."""


def opened(spec: DatasetSpec, found: StoredSnapshot) -> OpenSnapshot:
    """Return the snapshot *found* of *spec* as this process has it open."""
    return _generations[-1].get(spec, found)


def close_all() -> None:
    """Let go of all that this process has open, before its cache is removed, for example."""
    _generations[-1].close()


def _start_over() -> None:
    _generations[-1].abandon()
    _generations.append(OpenSnapshots())


os.register_at_fork(after_in_child=_start_over)


def _client(spec: DatasetSpec, origins: tuple[Origin, Origin]) -> CacheClient:
    async def renewed() -> tuple[Origin, Origin]:
        dataset = await anyio.to_thread.run_sync(spec.request.resolve, abandon_on_cancel=True)
        return dataset.source, dataset.repository

    return CacheClient(
        spec.cache.directory,
        origins,
        ensure=partial(anyio.to_thread.run_sync, ensure_service, spec.cache),
        renew=renewed,
        deadline_seconds=spec.deadline_seconds,
    )


def _connected(client: CacheClient, loop: LoopThread) -> RunningTask:
    """Run *client* once it has a connection; a service may die just as it is asked for one."""
    for pause in PAUSES:
        try:
            return loop.start(client.run)
        except CacheServiceError as error:
            log.warning("no cache service, trying again: %s", error)
        time.sleep(pause)
    return loop.start(client.run)


def _questions(
    client: CacheClient, loop: LoopThread, root: str, found: StoredSnapshot, deadline: float
) -> Questions:
    manifest = CachedManifest(client, root, found)
    patience = deadline + LOOP_GRACE_SECONDS

    def fetch(piece: Piece) -> bytes:
        if piece.bad is None:
            return loop.call(patience, manifest.read, piece.start, piece.stop)
        return loop.call(patience, manifest.reread, piece.start, piece.stop, piece.bad)

    return Questions(MappedManifest(client, root, found), fetch)
