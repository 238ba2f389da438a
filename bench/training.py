"""A training loop without an accelerator: batches are read ahead by threads, steps are slept.

It stands for what MLPerf Storage runs: DLIO (github.com/argonne-lcf/dlio_benchmark) with PyTorch's
DataLoader, each of whose readers brings a whole batch and has up to two under way.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from bench.inprocess import InProcess
from bench.workloads import Span

PREFETCH_FACTOR = 2
"""Batches under way for each reader: what DataLoader does by default."""
EXCLUDED_STEPS = 1
"""DLIO's default: the first step waits for a pipeline that is still empty."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to read for each step, by how many threads, and how long a step computes."""

    batches: Sequence[Sequence[Span]]
    readers: int
    step_seconds: float
    by_open: bool
    """Each sample by an open() of its own, as one reads image files; else by one descriptor."""
    in_process: InProcess | None = None
    """Whole files are read without the mount, by this."""
    announced: bool = False
    """In process: the order is told beforehand."""
    forgiving: bool = False
    """A batch that cannot be read costs its step and is told, else it ends the epoch."""


@dataclass(frozen=True, slots=True)
class Step:
    """How long a step waited for its batch, and how long it computed."""

    waited: float
    computed: float


@dataclass(frozen=True, slots=True)
class Epoch:
    """What became of a plan."""

    steps: Sequence[Step]
    seconds: float
    byte_count: int
    errors: Sequence[str] = ()
    """Why batches could not be read, one reason each."""

    @property
    def utilisation(self) -> float:
        """Accelerator utilisation in percent."""
        return utilisation(self.steps, self.seconds)


def utilisation(steps: Sequence[Step], seconds: float, excluded: int = EXCLUDED_STEPS) -> float:
    """Return the accelerator utilisation in percent of an epoch that took so many *seconds*.

    DLIO's formula (`compute_metrics_train` in its utils/statscounter.py): the time computed by
    all but the first *excluded* steps, over the epoch's time without those first ones.
    """
    total = seconds - sum(step.waited + step.computed for step in steps[:excluded])
    computed = sum(step.computed for step in steps[excluded:])
    return 100.0 * computed / total if computed else 0.0


def train(root: Path, plan: Plan) -> Epoch:
    """Run one epoch on files below *root*."""
    steps: list[Step] = []
    errors: list[str] = []
    byte_count = 0
    with samples_of(root, plan) as samples, ThreadPoolExecutor(plan.readers) as pool:
        batches = iter(plan.batches)
        under_way: deque[Future[int]] = deque(
            pool.submit(samples.read, batch)
            for batch in islice(batches, plan.readers * PREFETCH_FACTOR)
        )
        began = time.perf_counter()
        while under_way:
            asked = time.perf_counter()
            size = size_of(under_way.popleft(), errors if plan.forgiving else None)
            byte_count += size
            under_way.extend(pool.submit(samples.read, batch) for batch in islice(batches, 1))
            loaded = time.perf_counter()
            time.sleep(plan.step_seconds)
            steps.append(Step(loaded - asked, time.perf_counter() - loaded if size else 0.0))
        seconds = time.perf_counter() - began
    return Epoch(steps, seconds, byte_count, errors)


def size_of(batch: Future[int], errors: list[str] | None) -> int:
    """Return the size of a batch when it is there: 0 if it fails and *errors* is there to say so.

    The step of a batch that is not there sleeps as long as others, but has computed nothing: else
    a mount that is gone would be the fastest way through an epoch.
    """
    try:
        return batch.result()
    except OSError as error:
        if errors is None:
            raise
        errors.append(error.strerror or str(error))
        return 0


class Reads(Protocol):
    """Reads batches, by any thread."""

    def read(self, batch: Sequence[Span]) -> int:
        """Read one batch and return how many bytes it has."""
        ...


@contextmanager
def samples_of(root: Path, plan: Plan) -> Iterator[Reads]:
    """Give what reads the batches of a plan."""
    if plan.in_process is None:
        with Samples(root, by_open=plan.by_open) as samples:
            yield samples
        return
    with plan.in_process.opened() as filesystem:
        if plan.announced:
            filesystem.announce([span.path for batch in plan.batches for span in batch])
        yield BatchesInProcess(filesystem)


@dataclass(frozen=True, slots=True)
class BatchesInProcess:
    """Reads whole files, as `vfs.torch.FileDataset` does: those of a batch all at once."""

    filesystem: Any

    def read(self, batch: Sequence[Span]) -> int:
        """Read one batch and return how many bytes it has."""
        found = self.filesystem.cat_ranges([span.path for span in batch], None, None)
        return sum(map(len, found))


class Samples:
    """Reads through a mount."""

    def __init__(self, root: Path, *, by_open: bool) -> None:
        """Read below *root*."""
        self._root = root
        self._by_open = by_open
        self._descriptors: dict[str, int] = {}

    def __enter__(self) -> Samples:
        """Have nothing open yet."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Close what is open."""
        for descriptor in self._descriptors.values():
            os.close(descriptor)

    def read(self, batch: Sequence[Span]) -> int:
        """Read one batch and return how many bytes it has."""
        read = self._read_by_open if self._by_open else self._read_record
        return sum(len(read(span)) for span in batch)

    def _read_by_open(self, span: Span) -> bytes:
        with open(f"{self._root}/{span.path}", "rb") as file:
            return file.read(span.size)

    def _read_record(self, span: Span) -> bytes:
        descriptor = self._descriptors.get(span.path)
        if descriptor is None:
            # Two threads may both open it; the one that comes second keeps the first one's.
            opened = os.open(f"{self._root}/{span.path}", os.O_RDONLY)
            descriptor = self._descriptors.setdefault(span.path, opened)
            if descriptor != opened:
                os.close(opened)
        return os.pread(descriptor, span.size, span.offset)
