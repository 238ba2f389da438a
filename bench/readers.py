"""Processes that read: each a share of the work, all beginning at the same moment."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.pool import Pool
from pathlib import Path
from types import TracebackType
from typing import Any

from bench.peers import PeerFailedError

LEAD_SECONDS = 0.02
"""All have their orders by then, and begin together."""

Work = Callable[[Path, Any], Any]
"""What one reader does below a directory, given its share."""


@dataclass(frozen=True, slots=True)
class Spent:
    """One reader's work: when it ran, what it cost, what came of it."""

    began: float
    ended: float
    cpu_seconds: float
    result: Any


@dataclass(frozen=True, slots=True)
class Reading:
    """What all readers together did."""

    seconds: float
    cpu_seconds: float
    results: Sequence[Any]


class Readers:
    """Reader processes, kept for the next time."""

    def __init__(self) -> None:
        """Start nothing yet."""
        self._pools: dict[int, Pool] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Readers:
        """Be ready."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End all processes."""
        self._stack.close()

    def ready(self, *counts: int) -> None:
        """Have so many processes started, where their start would be measured too."""
        for count in counts:
            self._pool(count)

    def do(self, work: Work, root: Path, shares: Sequence[Any], seconds: float) -> Reading:
        """Have each share done below *root* by a process of its own, in at most *seconds*."""
        begin = time.monotonic() + LEAD_SECONDS
        tasks = [(work, root, share, begin) for share in shares]
        pool = self._pool(len(shares))
        try:
            spent = pool.starmap_async(do_share, tasks, chunksize=1).get(seconds)
        except multiprocessing.TimeoutError:
            # They may hang in the mount: others take over, and these end when the mount has.
            del self._pools[len(shares)]
            raise PeerFailedError(f"not done after {seconds:.0f} s") from None
        except OSError as error:
            raise PeerFailedError(f"reading failed: {error}") from error
        return together(spent)

    def _pool(self, size: int) -> Pool:
        if size not in self._pools:
            # Whoever presses Ctrl-C means the suite, which ends them.
            pool = multiprocessing.get_context("spawn").Pool(
                size, signal.signal, (signal.SIGINT, signal.SIG_IGN)
            )
            self._pools[size] = self._stack.enter_context(pool)
            pool.starmap(do_share, [(nothing, Path(), None, 0.0)] * size, chunksize=1)
        return self._pools[size]


def do_share(work: Work, root: Path, share: object, begin: float) -> Spent:
    """Wait for the beginning and do one share."""
    time.sleep(max(0.0, begin - time.monotonic()))
    began, cpu_before = time.monotonic(), time.process_time()
    result = work(root, share)
    return Spent(began, time.monotonic(), time.process_time() - cpu_before, result)


def nothing(_root: Path, _share: None) -> None:
    """Let a process import what it needs."""


def together(spent: Sequence[Spent]) -> Reading:
    """Add up: from the first beginning to the last end."""
    return Reading(
        max(each.ended for each in spent) - min(each.began for each in spent),
        sum(each.cpu_seconds for each in spent),
        [each.result for each in spent],
    )
