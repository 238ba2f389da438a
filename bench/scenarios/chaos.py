"""Readers verify every byte while whoever serves them is killed, in every pair, and upgraded."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from bench.chaos import Readers
from bench.commands import Headrace
from bench.report import Bar, Report, Sheet

ROLES = ("worker", "supervisor", "keeper", "cachesvc")
PAIRS = tuple(itertools.combinations_with_replacement(ROLES, 2))
READERS = 8
FILES = 2_000
FILE_SIZE = 60_000
BIG_SIZE = 64 << 20
LONGEST_STALL_SECONDS = 5.0
USUAL_STALL_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 0.5
UPGRADE_EVERY = 12
"""Every so many blows is an upgrade."""
WHOLE_SECONDS = 30.0


def run(scratch: Path, seconds: float, say: Callable[[str], None]) -> Report:
    """Do harm for *seconds* and report what readers saw of it."""
    say(f"making {FILES:,} files")
    dataset = scratch / "dataset"
    hashes = make(dataset)
    command = Headrace.below(scratch, {})
    words = (str(dataset), "--repo", str(scratch / "repository"))
    command.run("snapshot", *words)
    with (
        command.cache_service_stopped_after(),
        command.mounted(scratch / "mount", *words) as mount,
        Readers(mount, hashes, READERS) as readers,
    ):
        blows = do_harm(command, readers, seconds, say)
    return report(readers, blows)


def make(dataset: Path) -> dict[str, bytes]:
    """Make the files and return their hashes by name."""
    dataset.mkdir()
    chance = random.Random(1)
    sizes = {f"f{number:05}": FILE_SIZE for number in range(FILES)} | {"big": BIG_SIZE}
    hashes = {}
    for name, size in sizes.items():
        content = chance.randbytes(size)
        (dataset / name).write_bytes(content)
        hashes[name] = hashlib.sha256(content).digest()
    return hashes


def do_harm(
    command: Headrace, readers: Readers, seconds: float, say: Callable[[str], None]
) -> Counter[str]:
    """Kill pairs of processes at once, or upgrade, until time is up or a reader complains."""
    chance = random.Random(2)
    blows: Counter[str] = Counter()
    deadline = time.monotonic() + seconds
    for number, pair in enumerate(itertools.cycle(PAIRS)):
        if time.monotonic() > deadline or readers.errors:
            return blows
        if number % UPGRADE_EVERY == UPGRADE_EVERY - 1:
            command.run("upgrade", "--all")
            blows["upgrade"] += 1
        blows.update(f"{role} killed" for role in kill_pair(command, pair, chance))
        time.sleep(chance.uniform(0, LONGEST_PAUSE_SECONDS))
        if number % len(PAIRS) == 0:
            say(f"{sum(blows.values())} blows, longest stall {readers.longest_stall_seconds:.2f} s")
    raise AssertionError("pairs never end")


def kill_pair(command: Headrace, pair: tuple[str, str], chance: random.Random) -> list[str]:
    """SIGKILL one process of each role of *pair* at once; return the roles that were hit."""
    everybody = complete(command)
    victims = {chance.choice(everybody[role]): role for role in pair}
    for pid in victims:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return list(victims.values())


def complete(command: Headrace) -> dict[str, list[int]]:
    """Return the processes by role as soon as there is one of each."""
    deadline = time.monotonic() + WHOLE_SECONDS
    while time.monotonic() < deadline:
        (row,) = json.loads(command.run("list", "--json"))
        found = {role: [row[role]] if row[role] else [] for role in ROLES[1:]}
        found["worker"] = row["workers"]
        if all(found.values()):
            return found
    raise TimeoutError(f"somebody is missing: {found}")


def report(readers: Readers, blows: Counter[str]) -> Report:
    """Say what readers saw."""
    stalls = sorted(readers.stalls)
    usual, longest = stalls[int(0.99 * (len(stalls) - 1))], stalls[-1]
    struck = [[what, f"{count:,}"] for what, count in sorted(blows.items())]
    return Report(
        scenario="chaos",
        notes=[
            f"{READERS} readers of {FILES:,} files and a large one, every byte verified, "
            "half of them through mmap; a step is to open a file or to read 256 KiB",
            f"{readers.file_count:,} files were verified in {len(stalls):,} steps",
            *readers.errors,
        ],
        sheets=[Sheet("blows", ("what", "times"), struck)],
        bars=[
            Bar("errors and wrong bytes", len(readers.errors), 0, at_most=True),
            Bar("99 % of steps within", usual, USUAL_STALL_SECONDS, at_most=True, unit=" s"),
            Bar("longest step", longest, LONGEST_STALL_SECONDS, at_most=True, unit=" s"),
        ],
        figures={"blows": dict(blows), "longest_seconds": stalls[-100:]},
    )
