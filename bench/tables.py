"""Results as tables for a person: a row for each cell, a column for each peer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from bench.peers.everybody import LIMITS, NATIVE, is_ours
from bench.report import Sheet
from bench.results import Results, Row, gain, grouped

NOTHING = "-"


def sheets(results: Results) -> Iterator[Sheet]:
    """Yield a sheet for each scenario and figure, and one that says who is missing."""
    groups = grouped(results.rows)
    for scenario, figure in dict.fromkeys((place[0], place[3]) for place in groups):
        chosen = {
            place: rows
            for place, rows in groups.items()
            if (place[0], place[3]) == (scenario, figure)
        }
        yield figure_sheet(f"{scenario}: {figure}", chosen)
    yield Sheet(
        "peers",
        ("peer", "version", "settings"),
        [[name, facts.version, facts.settings] for name, facts in results.peers.items()],
    )
    if results.absences:
        yield Sheet(
            "left out",
            ("scenario", "cell", "peer", "reason"),
            [[each.scenario, each.cell, each.peer, each.reason] for each in results.absences],
        )


def figure_sheet(
    title: str, groups: Mapping[tuple[str, str, str, str], Mapping[str, Row]]
) -> Sheet:
    """Return one figure of all cells, with the ratios that matter at the end."""
    peers = list(dict.fromkeys(peer for rows in groups.values() for peer in rows))
    limits = [f"ours to {limit}" for limit in LIMITS]
    columns = ("cell", "phase", *peers, "ours to best peer", *limits)
    body = [
        [
            cell,
            phase,
            *(spread(rows[peer]) if peer in rows else NOTHING for peer in peers),
            *ratios(rows),
        ]
        for (_, cell, phase, _), rows in groups.items()
    ]
    return Sheet(title, columns, body)


def ratios(rows: Mapping[str, Row]) -> list[str]:
    """Return how many times better our best row is than the best peer's and than each limit."""
    ours = best([row for peer, row in rows.items() if is_ours(peer)])
    others = [row for peer, row in rows.items() if not is_ours(peer) and peer not in LIMITS]
    return [times(ours, best(others)), *(times(ours, rows.get(limit)) for limit in LIMITS)]


def best(rows: Sequence[Row]) -> Row | None:
    """Return the best of some rows of one figure."""
    return max(rows, key=goodness, default=None)


def goodness(row: Row) -> float:
    """Return a number that is greater for what is better."""
    median = row.samples.median
    return median if row.more_is_better else -median


def times(ours: Row | None, theirs: Row | None) -> str:
    """Return how many times better *ours* is, and than whom."""
    if ours is None or theirs is None:
        return NOTHING
    if theirs.peer == NATIVE and not any(theirs.values):
        return NOTHING  # nobody serves it: its CPU time and requests are no measure
    factor = gain(ours, theirs)
    colour = "green" if factor >= 1 else "red"
    who = "" if theirs.peer in LIMITS else f" [dim]{theirs.peer}[/]"
    return f"[{colour}]{factor:,.2f}[/]{who}"


def spread(row: Row) -> str:
    """Return the median, and in brackets the quartiles, with digits that fit."""
    if len(row.values) == 1:
        return short(row.values[0])
    low, high = row.samples.quartiles
    return f"{short(row.samples.median)} [dim]({short(low)}-{short(high)})[/]"


def short(value: float) -> str:
    """Return a number with three digits or so."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
