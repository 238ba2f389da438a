"""Plays cells: each peer in turn, round by round, for as long as there is time."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from bench.commands import CommandFailedError
from bench.latency import Shape
from bench.measure import order_of_round
from bench.passes import Watch
from bench.peers import Offer, Peer, PeerFailedError, PeerUnavailableError
from bench.readers import Readers
from bench.results import Absence, Figure, PeerFacts, Results, Row
from bench.site import Stored, stored
from bench.workloads import Dataset

Found = Mapping[tuple[str, Figure], float]
"""What one round of one peer gave, by phase and figure."""
OneRound = Callable[[Offer, Stored, int], Found]
"""Plays one round; told what is mounted, where it lies, and the round's number."""
FAILURES = (PeerFailedError, CommandFailedError, OSError, subprocess.SubprocessError)
"""However a peer fails, the others go on."""
ALL_CELLS = "all cells"


@dataclass(frozen=True, slots=True)
class Dose:
    """How much of everything: which cells, how many rounds at most, how long."""

    name: str
    rounds: int
    """Of the cells that count most."""
    few_rounds: int
    """Of the others."""
    scale: float
    """The part of each cell's files that is used."""
    seconds: Mapping[str, float]
    """How long each scenario may take, set-up included; each cell has one round at least."""
    pass_seconds: float = 60.0
    """How long one pass may take before the peer is left out of the cell."""

    def rounds_of(self, cell: Cell) -> int:
        """Return how many rounds a cell has at most."""
        return self.rounds if cell.telling else self.few_rounds


@dataclass(frozen=True, slots=True)
class Cell:
    """Files to read, and over which network."""

    scenario: str
    name: str
    dataset: Dataset
    shape: Shape
    without: Mapping[str, str] = field(default_factory=dict)
    """Peers that are left out, and why."""
    telling: bool = False
    """Whether it is one of those that count most."""


@dataclass
class Session:
    """One run of the suite: who takes part, and what was found. All is written below *scratch*."""

    scratch: Path
    readers: Readers
    peers: Sequence[Peer]
    dose: Dose
    say: Callable[[str], None]
    results: Results = field(default_factory=Results)
    _playing: str = ""
    _unspent: float = 0.0
    """Seconds that cells before did not need: the next ones may."""

    @cached_property
    def present(self) -> Sequence[Peer]:
        """Those who can run here; why others cannot is in the results."""
        return [peer for peer in self.peers if self._introduce(peer)]

    def _introduce(self, peer: Peer) -> bool:
        try:
            facts = PeerFacts(peer.version(), peer.settings())
        except PeerUnavailableError as error:
            self._absent("all", ALL_CELLS, peer.name, str(error))
            return False
        self.results.peers[peer.name] = facts
        self.say(f"{peer.name}: {facts.version}; {facts.settings}")
        return True

    def remark(self, text: str) -> None:
        """Take note of something about the peer that is playing, once."""
        note = f"{self._playing}, {text}"
        if note not in self.results.notes:
            self.results.notes.append(note)

    def watch(self, place: Stored) -> Watch:
        """Return those who look on while *place* is read."""
        return Watch(place.gate, self.readers, self.dose.pass_seconds)

    def play(self, cells: Sequence[tuple[Cell, OneRound]]) -> None:
        """Play the cells of one scenario, each for its part of the scenario's time.

        The more rounds, the more time; and what the cells before have left over.
        """
        all_rounds = sum(self.dose.rounds_of(cell) for cell, _ in cells)
        for cell, one_round in cells:
            share = self.dose.rounds_of(cell) / all_rounds
            seconds = self.dose.seconds[cell.scenario] * share + self._unspent
            self.say(f"{cell.scenario}: {cell.name}, {seconds:.0f} s")
            began = time.monotonic()
            with self._scene(cell) as (place, offers):
                self.say(f"set up in {time.monotonic() - began:.0f} s")
                self._play(cell, one_round, place, offers, began + seconds)
            self._unspent = max(0.0, began + seconds - time.monotonic())

    def play_alone(self, scenario: str, peer: str, play: Callable[[], Sequence[Row]]) -> None:
        """Play what has cells of its own for one peer, if that takes part."""
        if peer not in {each.name for each in self.present}:
            return
        try:
            self.results.rows += play()
        except FAILURES as error:
            self._absent(scenario, ALL_CELLS, peer, str(error))

    @contextmanager
    def _scene(self, cell: Cell) -> Iterator[tuple[Stored, dict[str, Offer]]]:
        """Make a cell's dataset and let each peer do once what it wants done with it."""
        scratch = self.scratch / "cell"
        directory = scratch / "data"
        cell.dataset.make(directory)
        with ExitStack() as stack:
            place = stack.enter_context(stored(directory, cell.dataset.paths(), cell.shape))
            offers: dict[str, Offer] = {}
            for peer in self.present:
                if peer.name in cell.without:
                    self._absent(cell.scenario, ALL_CELLS, peer.name, cell.without[peer.name])
                    continue
                own = scratch / peer.name
                own.mkdir()
                try:
                    offers[peer.name] = stack.enter_context(peer.offered(place, own))
                except FAILURES as error:
                    self._absent(cell.scenario, cell.name, peer.name, str(error))
            yield place, offers
        shutil.rmtree(scratch)

    def _play(
        self,
        cell: Cell,
        one_round: OneRound,
        place: Stored,
        offers: dict[str, Offer],
        deadline: float,
    ) -> None:
        started = time.monotonic()
        found: dict[str, list[Found]] = {name: [] for name in offers}
        spent: defaultdict[str, float] = defaultdict(float)
        for number in range(self.dose.rounds_of(cell)):
            if number and time.monotonic() + (time.monotonic() - started) / number > deadline:
                break
            for name in order_of_round(list(offers), number):
                self._playing, began = name, time.monotonic()
                try:
                    found[name].append(one_round(offers[name], place, number))
                except FAILURES as error:
                    self._absent(cell.scenario, cell.name, name, str(error))
                    del offers[name]
                spent[name] += time.monotonic() - began
        self.say(times_of(found, spent))
        for name, rounds in found.items():
            self.results.rows += rows_of(cell, name, rounds)

    def _absent(self, scenario: str, cell: str, peer: str, reason: str) -> None:
        absence = Absence(scenario, cell, peer, reason)
        if absence not in self.results.absences:
            self.results.absences.append(absence)
            self.say(f"{scenario}: {cell}: without {peer}: {reason}")


def times_of(found: Mapping[str, Sequence[Found]], spent: Mapping[str, float]) -> str:
    """Return how many rounds there were, and what one took of each peer's time."""
    each = [f"{name} {seconds / max(len(found[name]), 1):.1f}" for name, seconds in spent.items()]
    return f"{max(map(len, found.values()), default=0)} rounds; seconds of one: {', '.join(each)}"


def rows_of(cell: Cell, peer: str, rounds: Sequence[Found]) -> Iterator[Row]:
    """Yield a row for each figure that was found, with the values of all rounds that have it."""
    for phase, figure in dict.fromkeys(key for found in rounds for key in found):
        values = tuple(found[phase, figure] for found in rounds if (phase, figure) in found)
        yield Row(cell.scenario, cell.name, phase, figure.name, figure.more_is_better, peer, values)
