"""Our own mount beside `vfs.open`, which reads the same node cache without one."""

from __future__ import annotations

import importlib.util
import time
from dataclasses import replace

from bench.inprocess import InProcess, Share, laps_together, read_in_process
from bench.passes import FILES_A_SECOND, Watch
from bench.peers import Cache, Mounted, Offer, PeerFailedError
from bench.peers.everybody import ORDER, ORDER_ELSEWHERE, PEERS, is_ours
from bench.peers.published import HeadraceOffer
from bench.results import Figure
from bench.scenarios.epoch import UTILISATION, Loop
from bench.session import Cell, Found, OneRound, Session
from bench.site import FAR, Stored
from bench.training import Epoch, Plan, train
from bench.workloads import Workload, dealt, read_all

SCENARIO = "in-process"
READERS = 4
OPEN_SECONDS = 3.0
"""All readers have the dataset open by then."""
LOOP = Loop("110 KB files", 480, 1, 110_000, 24, 0.016, 8, 1)
"""RetinaNet's hunger for bytes, by smaller files."""
WITHOUT = {
    **{peer.name: "in process there is only headrace" for peer in PEERS if not is_ours(peer.name)},
    ORDER: ORDER_ELSEWHERE,
}


def run(session: Session) -> None:
    """Read the same files in both ways."""
    workload = LOOP.workload(session.dose.scale)
    missing = importlib.util.find_spec("vfs.inprocess") is None
    without = {peer.name: "this headrace has no vfs.open" for peer in PEERS} if missing else WITHOUT
    cell = Cell(SCENARIO, f"{workload.file_count} x 110 KB", workload, FAR, without)
    session.play([(cell, round_of(session, workload))])


def round_of(session: Session, workload: Workload) -> OneRound:
    """Return what trains on an empty cache, told and not, and reads from a full one."""

    def one_round(offer: Offer, stored: Stored, number: int) -> Found:
        watch, source = session.watch(stored), source_of(offer)
        found: dict[tuple[str, Figure], float] = {}
        plan = replace(LOOP.plan(workload, number, 1), in_process=source)
        for phase, each in (
            ("cold, mount", replace(plan, in_process=None)),
            ("cold, vfs.open", plan),
            ("cold, vfs.open, order announced", replace(plan, announced=True)),
        ):
            epoch = trained(watch, offer, each)
            found[phase, UTILISATION] = epoch.utilisation
            found[phase, FILES_A_SECOND] = sum(map(len, each.batches)) / epoch.seconds
        with offer.mounted(Cache.KEPT) as mounted:
            found |= both_ways(watch, mounted, source, workload)
        return found

    return one_round


def source_of(offer: Offer) -> InProcess:
    """Return how to open in process what is offered."""
    if not isinstance(offer, HeadraceOffer):
        raise PeerFailedError("is not to be had in process")
    url, _, repository, *_ = offer.words
    return InProcess(url, repository, offer.own_environ)


def trained(watch: Watch, offer: Offer, plan: Plan) -> Epoch:
    """Return what became of an epoch on an empty cache.

    Its utilisation leaves out the first step, which may wait for most of so short an epoch: whoever
    brings batches in their order and early looks worse than who brings all at once and late. The
    files a second do not.
    """
    with offer.mounted(Cache.EMPTY) as mounted:
        (epoch,) = watch.read(mounted, train, [plan]).results
    assert isinstance(epoch, Epoch)
    return epoch


def both_ways(
    watch: Watch, mounted: Mounted, source: InProcess, workload: Workload
) -> dict[tuple[str, Figure], float]:
    """Read everything through the mount, twice, and in process, twice."""
    shares = dealt(workload.paths(), READERS)
    count = workload.file_count
    found = {
        (phase, FILES_A_SECOND): count / watch.read(mounted, read_all, shares).seconds
        for phase in ("warm, mount", "again, mount")
    }
    begin = time.monotonic() + OPEN_SECONDS
    laps = watch.read(mounted, read_in_process, [Share(source, each, 2, begin) for each in shares])
    for number, phase in enumerate(("warm, vfs.open", "again, vfs.open")):
        seconds, byte_count = laps_together([each[number] for each in laps.results])
        if byte_count != workload.byte_count:
            raise PeerFailedError(f"{phase}: not all bytes were there")
        found[phase, FILES_A_SECOND] = count / seconds
    return found
