"""The RetinaNet loop while workers of its mount are killed.

Only headrace: whoever kills a peer's process leaves its mount without anybody (ENOTCONN).
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from bench.peers import Cache, Offer, PeerFailedError
from bench.peers.everybody import PEERS, is_ours
from bench.peers.published import HeadraceShown
from bench.results import Figure
from bench.scenarios.epoch import RETINANET, UTILISATION
from bench.session import Cell, Found, OneRound, Session
from bench.site import FAR, Stored
from bench.training import Epoch, train
from bench.workloads import Workload

SCENARIO = "faults"
PAUSE_SECONDS = 0.4
LONGEST_WAIT = Figure("longest wait for a batch, ms", more_is_better=False)
KILLS = Figure("workers killed")
WITHOUT = {
    peer.name: "one process; without it the mount answers ENOTCONN until somebody mounts it anew"
    for peer in PEERS
    if not is_ours(peer.name)
}


def run(session: Session) -> None:
    """Train twice on a warm cache: left alone, and with a worker killed again and again."""
    workload = RETINANET.workload(session.dose.scale)
    cell = Cell(SCENARIO, f"RetinaNet, {workload.file_count} files", workload, FAR, WITHOUT)
    session.play([(cell, round_of(session, workload))])


def round_of(session: Session, workload: Workload) -> OneRound:
    """Return what plays both."""

    def one_round(offer: Offer, stored: Stored, number: int) -> Found:
        plan = RETINANET.plan(workload, number, accelerators=1)

        def epoch(cache: Cache, *, killing: bool) -> dict[Figure, float]:
            with offer.mounted(cache) as mounted, killer(mounted, killing) as kills:
                reading = session.watch(stored).read(mounted, train, [plan])
            return figures(reading.results[0], kills())

        epoch(Cache.EMPTY, killing=False)
        return {
            (phase, figure): value
            for phase, killing in (("left alone", False), ("workers killed", True))
            for figure, value in epoch(Cache.KEPT, killing=killing).items()
        }

    return one_round


def figures(epoch: Epoch, kills: int) -> dict[Figure, float]:
    """Return what an epoch says; the wait for the first batch is left out."""
    return {
        UTILISATION: epoch.utilisation,
        LONGEST_WAIT: max(step.waited for step in epoch.steps[1:]) * 1e3,
        KILLS: kills,
    }


@contextmanager
def killer(mounted: object, killing: bool) -> Iterator[Callable[[], int]]:
    """Kill a worker every now and then for the length of a block; tells how many that were."""
    if not isinstance(mounted, HeadraceShown):
        raise PeerFailedError("has no workers")
    killed: list[int] = []
    stopping = threading.Event()

    def kill() -> None:
        while not stopping.wait(PAUSE_SECONDS):
            for pid in mounted.workers()[:1]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)

    thread = threading.Thread(target=kill)
    if killing:
        thread.start()
    try:
        yield lambda: len(killed)
    finally:
        stopping.set()
        if killing:
            thread.join()
