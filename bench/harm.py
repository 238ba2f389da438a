"""Deals out blows to those who serve a mount, and keeps the record of what readers saw of it."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from bench.census import Census, servers
from bench.chaos import Readers
from bench.commands import CommandFailedError, Headrace
from bench.dose import Act, Blow
from bench.expected import Content, Switching
from bench.stalls import Step, longest_after

LONGEST_PAUSE_SECONDS = 0.5
"""Between two blows."""
LONGEST_DELAY_SECONDS = 0.8
"""So long after the beginning of an upgrade or a switch somebody is killed at the latest."""
WHOLE_SECONDS = 30.0


@dataclass(slots=True)
class Record:
    """What was done, and what readers saw of it."""

    kills: Counter[str] = field(default_factory=Counter)
    repeated: int = 0
    """Commands that had to be given again because of a kill."""
    stalls: list[tuple[float, str, float]] = field(default_factory=list)
    """When what was done, and the longest step after it."""
    calm: list[float] = field(default_factory=list)
    """The steps before anything was done."""
    refused: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    """What did not go away as it should when all was done."""
    wrong: list[str] = field(default_factory=list)
    file_count: int = 0
    step_count: int = 0
    held: dict[str, tuple[Census, Census]] = field(default_factory=dict)
    """Who held what before the first blow and after the last, by the name of the run."""

    def add(self, readers: Readers, blows: Sequence[tuple[float, Blow]]) -> None:
        """Add what *readers* saw of *blows* and of the time before."""
        steps: list[Step] = readers.steps
        moments = [moment for moment, _ in blows]
        longest = longest_after(moments, steps)
        self.stalls += [
            (moment, blow.name, stall) for (moment, blow), stall in zip(blows, longest, strict=True)
        ]
        self.calm += [step.seconds for step in steps if moments and step.ended < moments[0]]
        self.refused += readers.refused
        self.wrong += readers.wrong
        self.file_count += readers.file_count
        self.step_count += len(steps)


class Harm:
    """Strikes at those who serve one mount of *worker_count* workers."""

    def __init__(
        self, command: Headrace, mount: Path, worker_count: int, content: Content, record: Record
    ) -> None:
        """Know whom to harm; *content* is told of version switches, *record* of kills."""
        self.blows: list[tuple[float, Blow]] = []
        """What was done, and when."""
        self._command = command
        self._mount = mount
        self._worker_count = worker_count
        self._content = content
        self._record = record
        self._chance = random.Random(2)

    def do(self, blow: Blow) -> None:
        """Strike as soon as everybody is there, and pause for a moment."""
        everybody = self._complete()
        self.blows.append((time.monotonic(), blow))
        match blow.act:
            case Act.NOTHING:
                self._kill(blow.victims, everybody)
            case Act.UPGRADE:
                self._disturb(("upgrade", "--all"), blow.victims, everybody)
            case Act.SWITCH:
                self._switch(blow.victims, everybody)
        time.sleep(self._chance.uniform(0, LONGEST_PAUSE_SECONDS))

    def _switch(self, victims: Sequence[str], everybody: Mapping[str, Sequence[int]]) -> None:
        assert isinstance(self._content, Switching)
        version = self._content.next_version
        self._content.begin(version, time.monotonic())
        self._disturb(("checkout", ref(version), str(self._mount)), victims, everybody)
        self._content.end(time.monotonic())

    def _disturb(
        self, words: Sequence[str], victims: Sequence[str], everybody: Mapping[str, Sequence[int]]
    ) -> None:
        """Kill in the middle of a command, and give it again if it fails because of that."""
        with self._command.started(*words) as process:
            if victims:
                time.sleep(self._chance.uniform(0, LONGEST_DELAY_SECONDS))
                self._kill(victims, everybody)
        if process.returncode == 0:
            return
        if not victims:
            raise CommandFailedError(f"'headrace {' '.join(words)}' failed, and nobody was killed")
        self._record.repeated += 1
        self._command.run(*words)

    def _kill(self, victims: Sequence[str], everybody: Mapping[str, Sequence[int]]) -> None:
        """SIGKILL one process of each role at once; count those that were alive."""
        left = {role: list(pids) for role, pids in everybody.items()}
        for role in victims:
            pid = left[role].pop(self._chance.randrange(len(left[role])))
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                self._record.kills[role] += 1

    def _complete(self) -> dict[str, list[int]]:
        """Return the processes by role as soon as all are there."""
        deadline = time.monotonic() + WHOLE_SECONDS
        while time.monotonic() < deadline:
            found = servers(self._command)
            if all(found.values()) and len(found["worker"]) == self._worker_count:
                return found
        raise TimeoutError(f"somebody is missing: {found}")


def ref(version: int) -> str:
    """Return the name of a version."""
    return f"v{version}"
