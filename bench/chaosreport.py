"""What readers saw of all the harm, as a report."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter

from bench.census import Census, as_figures, growth, most
from bench.harm import Record
from bench.report import Bar, Report, Sheet
from bench.stalls import percentile

LONGEST_STALL_SECONDS = 5.0
USUAL_STALL_SECONDS = 1.0
OPENED_LATE = 4
"""What a process may hold that it has opened once and for all since the first look at it."""
MIB = 1 << 20


def report(record: Record, undone: int, setting: Sequence[str]) -> Report:
    """Say what readers saw, and what those who were harmed hold; *setting* tells of the readers."""
    return Report(
        scenario="chaos",
        notes=[*setting, *notes(record)],
        sheets=[stall_sheet(record), kill_sheet(record), holding_sheet(record)],
        bars=[*bars(record, undone), *growth_bars(record)],
        figures=figures(record),
    )


def notes(record: Record) -> list[str]:
    """Return what has to be known of the tables, and what went wrong."""
    return [
        "a step is to open a file or to read 256 KiB; what follows a blow is the longest step "
        "under way between it and the next one",
        f"{record.file_count:,} files were verified in {record.step_count:,} steps",
        f"{record.repeated} commands were given again after a kill in the middle of them",
        "what is held was counted when nobody had anything to do; the process of a role that has "
        "most counts",
        *(record.refused + record.wrong + record.left)[:20],
    ]


def stall_sheet(record: Record) -> Sheet:
    """Return how long readers waited, by what was done."""
    steps = {"nothing yet (all steps)": record.calm}
    for _, name, stall in sorted(record.stalls, key=itemgetter(1)):
        steps.setdefault(name, []).append(stall)
    steps["any"] = stalls(record)
    rows = [stall_row(name, seconds) for name, seconds in steps.items()]
    return Sheet("stalls, ms", ("after", "times", "median", "99 %", "longest"), rows)


def stall_row(name: str, seconds: Sequence[float]) -> list[str]:
    """Return the row of stalls that *name* was followed by."""
    shares = (percentile(seconds, share) for share in (0.5, 0.99, 1.0))
    return [name, f"{len(seconds):,}", *(f"{share * 1e3:,.1f}" for share in shares)]


def kill_sheet(record: Record) -> Sheet:
    """Return how many of each role were killed."""
    rows = [[role, str(count)] for role, count in sorted(record.kills.items())]
    return Sheet("kills", ("role", "times"), rows)


def holding_sheet(record: Record) -> Sheet:
    """Return what those who serve held before and after."""
    columns = ("", "descriptors", "after", "threads", "after", "private MiB", "after")
    rows = [
        [f"{run}: {role}", *held_cells(before, after, role)]
        for run, (before, after) in record.held.items()
        for role in before
    ]
    return Sheet("held before the first blow and after the last", columns, rows)


def held_cells(before: Census, after: Census, role: str) -> list[str]:
    """Return what the process of a role that holds most held before and after."""
    counts = [
        str(most(census[role], what))
        for what in ("descriptors", "threads")
        for census in (before, after)
    ]
    memory = [f"{most(census[role], 'private_bytes') / MIB:.1f}" for census in (before, after)]
    return [*counts, *memory]


def bars(record: Record, undone: int) -> list[Bar]:
    """Return what readers may see at the worst."""
    seen = stalls(record)
    usual, longest = percentile(seen, 0.99), max(seen)
    return [
        Bar("blows left undone", undone, 0, at_most=True),
        Bar("errors", len(record.refused), 0, at_most=True),
        Bar("wrong bytes", len(record.wrong), 0, at_most=True),
        Bar("unmounting failed", len(record.left), 0, at_most=True),
        Bar("stalls after a blow, 99 %", usual, USUAL_STALL_SECONDS, at_most=True, unit=" s"),
        Bar("longest stall", longest, LONGEST_STALL_SECONDS, at_most=True, unit=" s"),
    ]


def growth_bars(record: Record) -> list[Bar]:
    """Return what deaths may leave behind: nothing that grows with their number."""
    return [
        Bar(f"{run}: {what} more than before", growth(*held, what), OPENED_LATE, at_most=True)
        for run, held in record.held.items()
        for what in ("descriptors", "threads")
    ]


def figures(record: Record) -> dict[str, object]:
    """Return everything as it was recorded."""
    return {
        "kills": record.kills,
        "stalls": record.stalls,
        "repeated": record.repeated,
        "errors": record.refused,
        "wrong": record.wrong,
        "left": record.left,
        "files": record.file_count,
        "steps": record.step_count,
        "held": {run: [as_figures(census) for census in held] for run, held in record.held.items()},
    }


def stalls(record: Record) -> list[float]:
    """Return the longest step after each blow."""
    return [stall for *_, stall in record.stalls]
