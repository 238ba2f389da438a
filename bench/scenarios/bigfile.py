"""One large file: from end to end, and 128 KiB here and there."""

from __future__ import annotations

import random
from collections.abc import Sequence

from bench.passes import AMPLIFICATION, BANDWIDTH, CPU_A_MEGABYTE, MEMORY, Watch
from bench.peers import Cache, Offer
from bench.peers.everybody import NOT_MOUNTED, ONLY_AT_START
from bench.peers.wire import USED, WireOffer
from bench.readers import Work
from bench.results import Figure
from bench.session import Cell, Found, OneRound, Session
from bench.site import FAR, Stored
from bench.workloads import Span, Workload, dealt, read_all, read_spans

SCENARIO = "bigfile"
SEED = 21
FILE_SIZE = 240 << 20
BLOCK_SIZE = 128 << 10
RANDOM_READS = 256
RANDOM_READERS = 4
READS_A_SECOND = Figure("reads/s")
FIGURES = (BANDWIDTH, CPU_A_MEGABYTE, AMPLIFICATION, MEMORY)
COLD = "cold"
MOUNTS = (
    (COLD, Cache.EMPTY),
    ("warm", Cache.KEPT),
    ("warm, disk", Cache.ON_DISK),
)


def run(session: Session) -> None:
    """Read a file of 240 MiB, scaled, in both ways."""
    size = round(FILE_SIZE * session.dose.scale)
    reads = max(round(RANDOM_READS * session.dose.scale), RANDOM_READERS)
    workload = Workload(f"{size >> 20} MiB", 1, size)
    in_order = Cell(SCENARIO, f"{workload.name}, sequential", workload, FAR, ONLY_AT_START)
    name = f"{workload.name}, {reads} random reads"
    scattered = Cell(SCENARIO, name, workload, FAR, NOT_MOUNTED, telling=True)
    session.play(
        [
            (in_order, sequential(session, workload)),
            (scattered, at_random(session, workload, reads)),
        ]
    )


def sequential(session: Session, workload: Workload) -> OneRound:
    """Return what reads the file from its beginning to its end."""

    def one_round(offer: Offer, stored: Stored, _number: int) -> Found:
        watch = session.watch(stored)
        if isinstance(offer, WireOffer):
            figures = offer.fetched(watch, workload)
            return {
                (COLD, figure): figures[figure] for figure in (*FIGURES, USED) if figure in figures
            }
        return passes(watch, offer, read_all, [workload.paths()], workload.byte_count)

    return one_round


def at_random(session: Session, workload: Workload, reads: int) -> OneRound:
    """Return what reads blocks of the file that are the same for all peers of a round.

    The warm passes read other blocks than were fetched by the cold one: first the whole file is
    read, so that the node's cache has them.
    """

    def one_round(offer: Offer, stored: Stored, number: int) -> Found:
        spans = random_spans(workload, reads, number)
        shares = dealt(spans, RANDOM_READERS)
        watch, size = session.watch(stored), reads * BLOCK_SIZE
        cold = passes(watch, offer, read_spans, shares, size, mounts=MOUNTS[:1])
        with offer.mounted(Cache.KEPT) as mounted:
            watch.read(mounted, read_all, [workload.paths()])
        warm = passes(watch, offer, read_spans, shares, size, mounts=MOUNTS[1:])
        found = cold | warm
        rates = {
            (phase, READS_A_SECOND): value * 1e6 / BLOCK_SIZE
            for (phase, figure), value in found.items()
            if figure is BANDWIDTH
        }
        return found | rates

    return one_round


def random_spans(workload: Workload, count: int, number: int) -> list[Span]:
    """Return *count* blocks of the file, others in each round."""
    (path,) = workload.paths()
    blocks = workload.file_size // BLOCK_SIZE
    chosen = random.Random(SEED + number).sample(range(blocks), min(count, blocks))
    return [Span(path, block * BLOCK_SIZE, BLOCK_SIZE) for block in chosen]


def passes(
    watch: Watch,
    offer: Offer,
    work: Work,
    shares: Sequence[object],
    byte_count: int,
    *,
    mounts: Sequence[tuple[str, Cache]] = MOUNTS,
) -> dict[tuple[str, Figure], float]:
    """Do the same work on each of *mounts*."""
    found: dict[tuple[str, Figure], float] = {}
    for phase, cache in mounts:
        with offer.mounted(cache) as mounted:
            figures = watch.one_pass(mounted, work, shares).figures(1, byte_count)
        found |= {(phase, figure): figures[figure] for figure in FIGURES}
    return found
