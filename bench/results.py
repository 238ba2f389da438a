"""What a run of the suite found: figures of peers in cells, and who was left out and why.

A *cell* is a workload and how it is read. A *figure* has one value for each round. Both are plain
words here, so that whoever shows results needs to know no scenario.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.machine import machine_facts
from bench.measure import Samples

FORMAT = 2


@dataclass(frozen=True, slots=True)
class Figure:
    """Something that is measured: its name with its unit, and which way is better."""

    name: str
    more_is_better: bool = True


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of one peer in one cell."""

    scenario: str
    cell: str
    phase: str
    figure: str
    more_is_better: bool
    peer: str
    values: tuple[float, ...]

    @property
    def samples(self) -> Samples:
        """The values as what was measured several times."""
        return Samples(self.values)

    @property
    def place(self) -> tuple[str, str, str, str]:
        """What it has in common with the same figure of other peers."""
        return self.scenario, self.cell, self.phase, self.figure


@dataclass(frozen=True, slots=True)
class Absence:
    """A peer that has no figures, or fewer, in a cell, and why."""

    scenario: str
    cell: str
    peer: str
    reason: str


@dataclass(frozen=True, slots=True)
class PeerFacts:
    """What was run, and how."""

    version: str
    settings: str


@dataclass(slots=True)
class Results:
    """Everything that was found so far."""

    machine: Mapping[str, str] = field(default_factory=machine_facts)
    notes: list[str] = field(default_factory=list)
    peers: dict[str, PeerFacts] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    absences: list[Absence] = field(default_factory=list)

    def save(self, path: Path) -> None:
        """Write all of it as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        document = {"format": FORMAT, **asdict(self)}
        path.write_text(json.dumps(document, indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> Results:
        """Read what `save` wrote; raise ValueError for anything else."""
        document: dict[str, Any] = json.loads(path.read_text())
        if document.get("format") != FORMAT:
            raise ValueError(f"{path} is not of a side-by-side scenario")
        return cls(
            document["machine"],
            document["notes"],
            {name: PeerFacts(**facts) for name, facts in document["peers"].items()},
            [Row(**{**row, "values": tuple(row["values"])}) for row in document["rows"]],
            [Absence(**absence) for absence in document["absences"]],
        )

    def add(self, other: Results) -> None:
        """Take in what another run on the same machine found."""
        self.notes += [note for note in other.notes if note not in self.notes]
        self.peers |= other.peers
        self.rows += other.rows
        self.absences += other.absences


def grouped(rows: Sequence[Row]) -> dict[tuple[str, str, str, str], dict[str, Row]]:
    """Return rows by place, and there by peer."""
    groups: dict[tuple[str, str, str, str], dict[str, Row]] = {}
    for row in rows:
        groups.setdefault(row.place, {})[row.peer] = row
    return groups


def gain(ours: Row, theirs: Row) -> float:
    """Return how many times better *ours* is: round by round where both have all rounds."""
    better, worse = (ours, theirs) if ours.more_is_better else (theirs, ours)
    if 0 in worse.values:
        return float("inf") if better.samples.median else 1.0
    if len(ours.values) == len(theirs.values):
        return better.samples.over(worse.samples).median
    return better.samples.median / worse.samples.median
