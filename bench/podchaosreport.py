"""What pods saw of all the harm, as a report."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from bench.chaosreport import stall_row
from bench.report import Bar, Report, Sheet
from bench.stalls import Step, longest_caused, percentile
from tests.csi.blows import Act, Blow
from tests.csi.containers import SLOW_SECONDS
from tests.csi.containers import Report as ReaderReport

USUAL_SECONDS = 1.0
LONGEST_SECONDS = 10.0
HANG_EXTRA_SECONDS = 5.0
SHORT_LIVED = frozenset({"worker", "supervisor", "zygote", "keeper", "cachesvc", "node"})
"""Whose death takes no other along."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What became of one run."""

    readers: Sequence[ReaderReport]
    dealt: Sequence[tuple[float, Blow]]
    undone: int
    left: Sequence[str]
    longest_stat_seconds: float
    failure: str | None
    hang_budget_seconds: float

    def stalls(self) -> list[tuple[Blow, float]]:
        """Return each blow with the longest that anybody waited for a file after it."""
        steps = [Step(*slow) for reader in self.readers for slow in reader.slow]
        longest = longest_caused([moment for moment, _ in self.dealt], steps)
        return [(blow, stall) for (_, blow), stall in zip(self.dealt, longest, strict=True)]


def report(seen: Seen, pods: int, datasets: int) -> Report:
    """Return the tables and bars."""
    stalls = seen.stalls()
    read = sum(reader.read for reader in seen.readers)
    failed = [reader.last_error for reader in seen.readers if reader.last_error]
    return Report(
        scenario="podchaos",
        notes=[
            f"{pods} containers read {datasets} datasets and verified {read:,} files; a stall "
            "is the longest that any of them took for one file in whose course, or before which, "
            "the blow fell",
            f"under {SLOW_SECONDS * 1e3:g} ms counts as no wait; a new pod came and went after "
            "each blow",
            *([seen.failure] if seen.failure else []),
            *failed[:10],
            *seen.left[:10],
        ],
        sheets=[stall_sheet(stalls)],
        bars=bars(seen, stalls),
        figures={
            "blows": [(moment, blow.name) for moment, blow in seen.dealt],
            "stalls": [(blow.name, stall) for blow, stall in stalls],
            "readers": list(map(asdict, seen.readers)),
            "left": seen.left,
            "failure": seen.failure,
        },
    )


def stall_sheet(stalls: Sequence[tuple[Blow, float]]) -> Sheet:
    """Return how long pods waited, by what was done."""
    by_name: defaultdict[str, list[float]] = defaultdict(list)
    for blow, stall in sorted(stalls, key=lambda each: each[0].name):
        by_name[blow.name].append(stall)
        by_name[f"any {blow.act}"].append(stall)
    rows = [stall_row(name, seconds) for name, seconds in by_name.items()]
    return Sheet("stalls, ms", ("after", "times", "median", "99 %", "longest"), rows)


def bars(seen: Seen, stalls: Sequence[tuple[Blow, float]]) -> list[Bar]:
    """Return what pods may see at the worst, and what may be left: nothing."""
    single = [s for b, s in stalls if b.act is Act.KILL and SHORT_LIVED.issuperset(b.what)]
    stopped = [s for b, s in stalls if b.act is Act.STOP]
    other = [s for b, s in stalls if b.act is not Act.STOP]
    errors = sum(reader.errors for reader in seen.readers)
    wrong = sum(reader.wrong for reader in seen.readers)
    hang_limit = seen.hang_budget_seconds + HANG_EXTRA_SECONDS
    return [
        Bar("blows left undone", seen.undone, 0, at_most=True),
        Bar("somebody did not recover", int(seen.failure is not None), 0, at_most=True),
        Bar("errors", errors, 0, at_most=True),
        Bar("wrong bytes", wrong, 0, at_most=True),
        Bar("left behind", len(seen.left), 0, at_most=True),
        *stall_bars("processes killed, 99 %", single, 0.99, USUAL_SECONDS),
        *stall_bars("anything but a stop, longest", other, 1.0, LONGEST_SECONDS),
        *stall_bars("stopped past the hang budget, longest", stopped, 1.0, hang_limit),
        Bar("longest stat", seen.longest_stat_seconds, hang_limit, at_most=True, unit=" s"),
    ]


def stall_bars(what: str, stalls: Sequence[float], share: float, limit: float) -> list[Bar]:
    """Return the bar of some stalls, if there are any."""
    if not stalls:
        return []
    return [Bar(what, percentile(stalls, share), limit, at_most=True, unit=" s")]
