"""One pass of readers over a mount: what it took, and what it took from whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any

from bench.backing import back_memory
from bench.distance import Traffic
from bench.peers import Mounted
from bench.processes import share_bytes, spent_seconds
from bench.readers import Readers, Reading, Work
from bench.results import Figure
from bench.site import Gate

MIB = 1 << 20
FILES_A_SECOND = Figure("files/s")
BANDWIDTH = Figure("MB/s")
CPU_A_FILE = Figure("server CPU us/file", more_is_better=False)
CPU_A_MEGABYTE = Figure("server CPU us/MB", more_is_better=False)
REQUESTS_A_FILE = Figure("requests/file", more_is_better=False)
AMPLIFICATION = Figure("bytes fetched/byte read", more_is_better=False)
MEMORY = Figure("private MiB", more_is_better=False)


@dataclass(frozen=True, slots=True)
class Pass:
    """What readers and servers did in one pass."""

    reading: Reading
    server_seconds: float
    traffic: Traffic
    private_bytes: int

    def figures(self, file_count: int, byte_count: int) -> Mapping[Figure, float]:
        """Return what is reported of it, *file_count* files with *byte_count* bytes being read."""
        return {
            FILES_A_SECOND: file_count / self.reading.seconds,
            BANDWIDTH: byte_count / 1e6 / self.reading.seconds,
            CPU_A_FILE: self.server_seconds * 1e6 / file_count,
            CPU_A_MEGABYTE: self.server_seconds * 1e6 / (byte_count / 1e6),
            REQUESTS_A_FILE: self.traffic.request_count / file_count,
            AMPLIFICATION: self.traffic.byte_count / byte_count,
            MEMORY: self.private_bytes / MIB,
        }


@dataclass(frozen=True, slots=True)
class Watch:
    """Those who look on while a mount is read: of its dataset's gate, by its readers."""

    gate: Gate
    readers: Readers
    seconds: float
    """How long a pass may take."""

    def one_pass(
        self,
        mounted: Mounted,
        work: Work,
        shares: Sequence[Any],
        announced: AbstractContextManager[None] | None = None,
    ) -> Pass:
        """Have *shares* of *work* done; raise `PeerFailedError` if that takes too long.

        What is *announced* to the mount is announced as part of it.
        """
        back_memory()
        before = {pid: spent_seconds(pid) for pid in mounted.pids()}
        traffic = self.gate.traffic()
        with announced or nullcontext():
            reading = self.read(mounted, work, shares)
            after = {pid: spent_seconds(pid) for pid in mounted.pids()}
        return Pass(
            reading,
            sum(spent - before.get(pid, 0.0) for pid, spent in after.items()),
            self.gate.traffic().since(traffic),
            sum(map(share_bytes_or_none, after)),
        )

    def read(self, mounted: Mounted, work: Work, shares: Sequence[Any]) -> Reading:
        """Do the same without looking at anybody but the readers."""
        return self.readers.do(work, mounted.path, shares, self.seconds)


def share_bytes_or_none(pid: int) -> int:
    """Return a process's share of memory that is no file's; none if it has ended."""
    with suppress(OSError, KeyError):
        return share_bytes(pid)
    return 0
