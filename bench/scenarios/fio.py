"""The same by fio, for those who trust nothing else: one large file from a warm node cache."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.peers import Cache, Offer, PeerFailedError, PeerUnavailableError
from bench.peers.everybody import NOT_MOUNTED, PEERS
from bench.peers.tools import FIO
from bench.results import Figure
from bench.scenarios.bigfile import FILE_SIZE
from bench.session import Cell, Found, OneRound, Session
from bench.site import FAR, Stored
from bench.workloads import Workload, read_all

SCENARIO = "fio"
BANDWIDTH = Figure("MB/s")
READS_A_SECOND = Figure("reads/s")
JOBS: dict[str, Sequence[str]] = {
    "sequential 1 MiB": ("--rw=read", "--bs=1M"),
    "random 128 KiB, 4 jobs": ("--rw=randread", "--bs=128k", "--numjobs=4", "--io_size=32M"),
}


def run(session: Session) -> None:
    """Play all jobs, each on a new mount."""
    workload = Workload("one file", 1, round(FILE_SIZE * session.dose.scale))
    try:
        without = NOT_MOUNTED
        FIO.find()
    except PeerUnavailableError as error:
        without = {peer.name: str(error) for peer in PEERS}
    cell = Cell(SCENARIO, f"{workload.byte_count >> 20} MiB", workload, FAR, without)
    session.play([(cell, round_of(session, workload))])


def round_of(session: Session, workload: Workload) -> OneRound:
    """Return what fills the cache and plays the jobs."""

    def one_round(offer: Offer, stored: Stored, _number: int) -> Found:
        (path,) = workload.paths()
        with offer.mounted(Cache.EMPTY) as mounted:
            session.watch(stored).read(mounted, read_all, [[path]])
        found: dict[tuple[str, Figure], float] = {}
        for phase, options in JOBS.items():
            with offer.mounted(Cache.KEPT) as mounted:
                found |= job(phase, mounted.path / path, options, session.dose.pass_seconds)
        return found

    return one_round


def job(
    name: str, file: Path, options: Sequence[str], seconds: float
) -> dict[tuple[str, Figure], float]:
    """Run one job, which first makes the kernel drop the file's pages."""
    words: list[str | Path] = [
        *(FIO.find(), f"--name={name}", f"--filename={file}", "--readonly", "--invalidate=1"),
        *("--ioengine=psync", "--group_reporting", "--output-format=json", *options),
    ]
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=seconds, check=False, cwd="/"
        )
    except subprocess.TimeoutExpired:
        raise PeerFailedError(f"fio: not done after {seconds:.0f} s") from None
    if done.returncode != 0:
        raise PeerFailedError(f"fio: {done.stderr[-300:].strip()}")
    return figures(name, json.loads(done.stdout[done.stdout.index("{") :]))


def figures(name: str, document: dict[str, Any]) -> dict[tuple[str, Figure], float]:
    """Return what fio's JSON says of the job."""
    read = document["jobs"][0]["read"]
    return {(name, BANDWIDTH): read["bw_bytes"] / 1e6, (name, READS_A_SECOND): read["iops"]}
