"""From the mount command to the first byte and the first batch, nothing of the data being here."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence

from bench.peers import Cache, Offer
from bench.peers.everybody import ORDER, ORDER_ELSEWHERE, WIRE, WIRE_ELSEWHERE
from bench.results import Figure
from bench.session import Cell, Found, OneRound, Session
from bench.site import FAR, Stored
from bench.workloads import Workload, dealt, read_all

SCENARIO = "first-batch"
SEED = 22
BATCH = 24
READERS = 8
FIRST_BYTE = Figure("to first byte, ms", more_is_better=False)
FIRST_BATCH = Figure("to first batch, ms", more_is_better=False)
REQUESTS = Figure("requests", more_is_better=False)
SIZES: Mapping[str, Sequence[tuple[int, int]]] = {
    "quick": ((1_000, 4_000),),
    "normal": ((1_000, 110_000),),
    "full": ((1_000, 110_000), (10_000, 4_000)),
    "long": ((1_000, 110_000), (10_000, 4_000), (100_000, 1_000)),
}
"""Files in the dataset, and the size of each."""
WITHOUT = {ORDER: ORDER_ELSEWHERE, WIRE: WIRE_ELSEWHERE}


def run(session: Session) -> None:
    """Play all sizes of the session's dose."""
    session.readers.ready(1, READERS)
    cells: list[tuple[Cell, OneRound]] = []
    for count, size in SIZES[session.dose.name]:
        workload = Workload(f"{count:,} x {size // 1000} KB", count, size)
        cell = Cell(SCENARIO, workload.name, workload, FAR, WITHOUT, telling=True)
        cells.append((cell, round_of(session, workload)))
    session.play(cells)


def round_of(session: Session, workload: Workload) -> OneRound:
    """Return what mounts, and reads files that are the same for all peers of a round."""

    def one_round(offer: Offer, stored: Stored, number: int) -> Found:
        first, *batch = random.Random(SEED + number).sample(workload.paths(), BATCH + 1)
        watch = session.watch(stored)
        before = stored.gate.traffic()
        with offer.mounted(Cache.EMPTY) as mounted:
            started = time.perf_counter() - mounted.mount_seconds
            watch.read(mounted, read_all, [[first]])
            first_byte = time.perf_counter() - started
            watch.read(mounted, read_all, dealt(batch, READERS))
            first_batch = time.perf_counter() - started
        return {
            ("cold", FIRST_BYTE): first_byte * 1e3,
            ("cold", FIRST_BATCH): first_batch * 1e3,
            ("cold", REQUESTS): stored.gate.traffic().since(before).request_count,
        }

    return one_round
