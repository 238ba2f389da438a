"""Training epochs: how busy an accelerator is kept, after MLPerf Storage.

Its three workloads, scaled to two cores and working sets of 256 MiB: U-Net3D has files a sixteenth
as long, one for each step, and an eighth of an accelerator's hunger (400 of 3,200 MB/s); ResNet-50
has a tenth of the records in each batch and of the time. Warm epochs feed several accelerators at
once, so that there are differences to be seen.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from bench.passes import CPU_A_FILE, REQUESTS_A_FILE, Watch
from bench.peers import Announcing, Cache, Mounted, Offer, PeerFailedError
from bench.peers.everybody import WIRE, WIRE_ELSEWHERE
from bench.results import Figure
from bench.session import Cell, Found, OneRound, Session
from bench.site import FAR, Stored
from bench.training import Epoch, Plan, train
from bench.workloads import Span, Workload

SCENARIO = "epoch"
SEED = 23
UTILISATION = Figure("accelerator utilisation %")
FIRST_BATCH = Figure("mount to first batch, s", more_is_better=False)
WHOLE = Figure("mount to end of epoch, s", more_is_better=False)
CPU_A_SAMPLE = Figure("server CPU us/sample", more_is_better=False)
REQUESTS_A_SAMPLE = Figure("requests/sample", more_is_better=False)


@dataclass(frozen=True, slots=True)
class Loop:
    """Samples, how many make a step, and how long that takes one accelerator."""

    name: str
    file_count: int
    samples_in_file: int
    sample_size: int
    batch: int
    step_seconds: float
    readers: int
    warm_accelerators: int

    def workload(self, scale: float) -> Workload:
        """Return the files, so many that there are some steps at least."""
        least = -(-self.batch * LEAST_STEPS // self.samples_in_file)
        count = max(round(self.file_count * scale), least)
        return Workload(self.name, count, self.sample_size * self.samples_in_file)

    def plan(self, workload: Workload, number: int, accelerators: int) -> Plan:
        """Return the epoch *number*, its files and its batches in another order than before.

        Samples of one file stay together and in order: that is how record files are read.
        """
        chance = random.Random(SEED + number)
        paths = chance.sample(workload.paths(), workload.file_count)
        samples = [
            Span(path, sample * self.sample_size, self.sample_size)
            for path in paths
            for sample in range(self.samples_in_file)
        ]
        stop = len(samples) // self.batch * self.batch
        batches = [samples[at : at + self.batch] for at in range(0, stop, self.batch)]
        by_open = self.samples_in_file == 1
        return Plan(batches, self.readers, self.step_seconds / accelerators, by_open)


LEAST_STEPS = 16
"""As many as are under way with the most readers: the pipeline's first filling is not the rule."""
RETINANET = Loop("RetinaNet", 480, 1, 323_000, 24, 0.04755, 8, 4)
UNET3D = Loop("U-Net3D", 24, 1, 9_200_000, 1, 0.023, 4, 4)
RESNET50 = Loop("ResNet-50", 2, 560, 114_660, 40, 0.0224, 8, 4)
LOOPS: Mapping[str, Sequence[Loop]] = {
    "quick": (RETINANET,),
    "normal": (RETINANET, UNET3D),
    "full": (RETINANET, UNET3D, RESNET50),
    "long": (RETINANET, UNET3D, RESNET50),
}


def run(session: Session) -> None:
    """Play the loops of the session's dose."""
    cells: list[tuple[Cell, OneRound]] = []
    for loop in LOOPS[session.dose.name]:
        workload = loop.workload(session.dose.scale)
        name = f"{loop.name}, {workload.file_count} files"
        cell = Cell(SCENARIO, name, workload, FAR, {WIRE: WIRE_ELSEWHERE}, telling=True)
        cells.append((cell, round_of(session, loop, workload)))
    session.play(cells)


def round_of(session: Session, loop: Loop, workload: Workload) -> OneRound:
    """Return what trains for one epoch on an empty cache, and one on a full one."""

    def one_round(offer: Offer, stored: Stored, number: int) -> Found:
        found: dict[tuple[str, Figure], float] = {}
        for phase, cache, accelerators in (
            ("cold", Cache.EMPTY, 1),
            (f"warm, {loop.warm_accelerators} accelerators", Cache.KEPT, loop.warm_accelerators),
        ):
            plan = loop.plan(workload, number, accelerators)
            figures = one_epoch(session.watch(stored), offer, cache, plan)
            found |= {(phase, figure): value for figure, value in figures.items()}
        return found

    return one_round


def one_epoch(watch: Watch, offer: Offer, cache: Cache, plan: Plan) -> Mapping[Figure, float]:
    """Mount, train for one epoch, and return its figures."""
    samples = [span for batch in plan.batches for span in batch]
    order = list(dict.fromkeys(span.path for span in samples))
    with offer.mounted(cache) as mounted:
        done = watch.one_pass(mounted, train, [plan], announced(mounted, order))
    (epoch,) = done.reading.results
    assert isinstance(epoch, Epoch)
    byte_count = sum(span.size for span in samples)
    if epoch.byte_count != byte_count:
        raise PeerFailedError(f"read {epoch.byte_count} of {byte_count} bytes")
    figures = done.figures(len(samples), byte_count)
    return {
        UTILISATION: epoch.utilisation,
        FIRST_BATCH: mounted.mount_seconds + epoch.steps[0].waited,
        WHOLE: mounted.mount_seconds + epoch.seconds,
        CPU_A_SAMPLE: figures[CPU_A_FILE],
        REQUESTS_A_SAMPLE: figures[REQUESTS_A_FILE],
    }


def announced(mounted: Mounted, order: Sequence[str]) -> AbstractContextManager[None] | None:
    """Tell a mount what will be read, if it may be told."""
    return mounted.announced(order) if isinstance(mounted, Announcing) else None
