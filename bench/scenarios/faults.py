"""The RetinaNet loop, on a cold cache, while whoever serves its mount is killed.

That is one of our workers; of JuiceFS the process that its own supervisor watches; of others the
only one. Once, and then again and again where somebody starts others; where nobody does, the mount
is made anew at once, as a service manager would. On a warm cache all would be read before a blow.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace

from bench.peers import Cache, Mortal, Offer, PeerFailedError, Remountable
from bench.peers.everybody import COPY, NATIVE, ORDER, ORDER_ELSEWHERE, WIRE, WIRE_ELSEWHERE
from bench.results import Figure
from bench.scenarios.epoch import RETINANET, UTILISATION
from bench.session import Cell, Found, OneRound, Session
from bench.site import FAR, Stored
from bench.training import Epoch, Plan, train
from bench.workloads import Workload

SCENARIO = "faults"
PAUSE_SECONDS = 0.4
LEAST_SCALE = 0.6
"""A blow takes as long whatever the dose."""
LOOP = replace(RETINANET, file_count=760)
LONGEST_WAIT = Figure("longest wait for a batch, ms", more_is_better=False)
KILLS = Figure("processes killed")
FAILED = Figure("batches that failed, %", more_is_better=False)
NOBODY = "nobody serves it"
WITHOUT = {
    NATIVE: NOBODY,
    COPY: NOBODY,
    WIRE: WIRE_ELSEWHERE,
    ORDER: ORDER_ELSEWHERE,
}
CALM, ONCE = "left alone", "killed once"
AGAIN, REMOUNTED = "killed every 0.4 s", "killed once, mounted anew"


def run(session: Session) -> None:
    """Train on a cold cache: left alone, and with blows."""
    workload = LOOP.workload(max(session.dose.scale, LEAST_SCALE))
    cell = Cell(SCENARIO, f"RetinaNet, {workload.file_count} files", workload, FAR, WITHOUT)
    session.play([(cell, round_of(session, workload))])


def round_of(session: Session, workload: Workload) -> OneRound:
    """Return what plays an epoch for each kind of blow."""

    def one_round(offer: Offer, stored: Stored, number: int) -> Found:
        plan = replace(LOOP.plan(workload, number, accelerators=1), forgiving=True)
        found: dict[tuple[str, Figure], float] = {}
        phases = [CALM, ONCE]
        while phases:
            phase = phases.pop(0)
            with offer.mounted(Cache.EMPTY) as mounted:
                with blows(mounted, phase) as kills:
                    reading = session.watch(stored).read(mounted, train, [plan])
                if phase == ONCE:
                    phases.append(REMOUNTED if is_left_alone(mounted) else AGAIN)
            (epoch,) = reading.results
            if epoch.errors:
                session.remark(f"{phase}: {', '.join(sorted(set(epoch.errors)))}")
            found |= {(phase, each): of for each, of in figures(epoch, plan, kills()).items()}
        return found

    return one_round


def is_left_alone(mounted: object) -> bool:
    """Whether a mount is left to whoever mounted it when its processes die."""
    return isinstance(mounted, Remountable) and not mounted.is_watched


def figures(epoch: Epoch, plan: Plan, kills: int) -> dict[Figure, float]:
    """Return what an epoch says; the wait for the first batch is left out."""
    return {
        UTILISATION: epoch.utilisation,
        LONGEST_WAIT: max(step.waited for step in epoch.steps[1:]) * 1e3,
        FAILED: 100 * len(epoch.errors) / len(plan.batches),
        KILLS: kills,
    }


@contextmanager
def blows(mounted: object, phase: str) -> Iterator[Callable[[], int]]:
    """Deal out a phase's blows for the length of a block; tells how many processes were killed."""
    if not isinstance(mounted, Mortal):
        raise PeerFailedError(NOBODY)
    killed: list[int] = []
    stopping = threading.Event()

    def strike() -> None:
        while not stopping.wait(PAUSE_SECONDS):
            killed.extend(kill_all(mounted.serving()[:1]))
            if phase == REMOUNTED and isinstance(mounted, Remountable):
                mounted.remount()
            if phase != AGAIN:
                return

    thread = threading.Thread(target=strike)
    if phase != CALM:
        thread.start()
    try:
        yield lambda: len(killed)
    finally:
        stopping.set()
        if phase != CALM:
            thread.join()


def kill_all(pids: Sequence[int]) -> Iterator[int]:
    """SIGKILL processes; yield those that were alive."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            yield pid
