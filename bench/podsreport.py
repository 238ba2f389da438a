"""What pods waited for and what many of them cost, as a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from bench.crowding import Crowding
from bench.publishing import LISTING, State, Wait
from bench.report import Bar, Report, Sheet
from bench.stalls import percentile
from tests.csi.cluster import HOLDERS

MIB = 1 << 20
WAIT_LIMITS = {State.COLD: 2.0, State.KNOWN: 0.5, State.WARM: 0.5}
GROWTH_LIMIT = 1.2
WAIT_COLUMNS = ("files", "node has", "publishes", "median ms", "99 %", "longest", "S3", "API", "of")
CROWD_COLUMNS = ("", "median ms", "99 %", "longest", "teardown 99 %", "mounts", "CPU ms each")
HELD_COLUMNS = ("", "before", "full", "after")

Waits = Mapping[int, Mapping[State, Sequence[Wait]]]


def report(waits: Waits, crowdings: Sequence[Crowding], rounds: int) -> Report:
    """Return the tables and bars."""
    return Report(
        scenario="pods",
        notes=[
            f"{rounds} nodes for each size; made-up listings, a file of each directory exists",
            "a publish is all that the kubelet does, two questions for capabilities included",
            "S3: requests of one publish at most; API: calls to the API server, the same",
            "CPU: of csi-node, for each publish",
        ],
        sheets=[wait_sheet(waits), crowd_sheet(crowdings), held_sheet(crowdings)],
        bars=[*wait_bars(waits), *growth_bars(waits), *(b for c in crowdings for b in bars_of(c))],
        figures={
            "waits": {
                size: {state: list(map(asdict, some)) for state, some in states.items()}
                for size, states in waits.items()
            },
            "crowds": list(map(asdict, crowdings)),
        },
    )


def wait_sheet(waits: Waits) -> Sheet:
    """Return how long pods waited, by size and by what the node had."""
    rows = [
        wait_row(size, state, some)
        for size, states in waits.items()
        for state, some in states.items()
    ]
    return Sheet("a pod's wait for its volume", WAIT_COLUMNS, rows)


def wait_row(size: int, state: State, some: Sequence[Wait]) -> list[str]:
    """Return the row of one size and state."""
    busiest = max(some, key=lambda wait: wait.request_count)
    return [
        f"{size:,}",
        state,
        str(len(some)),
        *milliseconds([wait.seconds for wait in some]),
        str(busiest.request_count),
        str(max(wait.api_calls for wait in some)),
        ", ".join(f"{count} {what}" for what, count in busiest.requests.items()),
    ]


def crowd_sheet(crowdings: Sequence[Crowding]) -> Sheet:
    """Return how long pods waited that came together."""
    rows = [
        [
            crowding.name,
            *milliseconds(crowding.publishes),
            milliseconds(crowding.teardowns)[1],
            f"{crowding.mounts} for {crowding.shares}",
            f"{crowding.driver_cpu_seconds / len(crowding.publishes) * 1e3:.1f}",
        ]
        for crowding in crowdings
    ]
    return Sheet("many at once", CROWD_COLUMNS, rows)


def held_sheet(crowdings: Sequence[Crowding]) -> Sheet:
    """Return what those who stay held before, with all pods there, and after."""
    rows = []
    for crowding in crowdings:
        looks = (crowding.before, crowding.full, crowding.after)
        rows += [
            [f"{crowding.name}: descriptors of {role}", *(str(h.descriptors[role]) for h in looks)]
            for role in HOLDERS
        ]
        sizes = (f"{held.driver_bytes / MIB:.1f}" for held in looks)
        rows.append([f"{crowding.name}: private MiB of csi-node", *sizes])
    return Sheet("held", HELD_COLUMNS, rows)


def wait_bars(waits: Waits) -> list[Bar]:
    """Return how long a pod may wait, and whom it may have asked."""
    bars = []
    for state, limit in WAIT_LIMITS.items():
        some = [wait for states in waits.values() for wait in states[state]]
        longest = percentile([wait.seconds for wait in some], 0.99)
        bars.append(Bar(f"node has {state}: 99 %", longest, limit, at_most=True, unit=" s"))
    everything = [wait for states in waits.values() for some in states.values() for wait in some]
    warm = [wait for states in waits.values() for wait in states[State.WARM]]
    return [
        *bars,
        Bar("S3 requests, warm", sum(w.request_count for w in warm), 0, at_most=True),
        Bar("listings", sum(w.requests.get(LISTING, 0) for w in everything), 0, at_most=True),
        Bar("API calls", sum(wait.api_calls for wait in everything), 0, at_most=True),
    ]


def growth_bars(waits: Waits) -> list[Bar]:
    """Return what must not grow with the dataset."""
    least, most = min(waits), max(waits)
    medians = {
        (size, state): percentile([wait.seconds for wait in waits[size][state]], 0.5)
        for size in (least, most)
        for state in State
    }
    return [
        Bar(
            f"node has {state}: {most:,} files to {least:,}",
            medians[most, state] / medians[least, state],
            GROWTH_LIMIT,
            at_most=True,
        )
        for state in State
    ]


def bars_of(crowding: Crowding) -> list[Bar]:
    """Return what a crowd may cost, and leave behind: nothing."""
    more = crowding.mounts - crowding.shares
    return [
        Bar(f"{crowding.name}: mounts more than datasets", more, 0, at_most=True),
        Bar(f"{crowding.name}: left behind", len(crowding.left), 0, at_most=True),
        Bar(f"{crowding.name}: descriptors more", crowding.descriptors_more, 0, at_most=True),
        Bar(
            f"{crowding.name}: processes more",
            crowding.after.processes - crowding.before.processes,
            0,
            at_most=True,
        ),
    ]


def milliseconds(seconds: Sequence[float]) -> list[str]:
    """Return the median, the 99th percentile and the longest."""
    return [f"{percentile(seconds, share) * 1e3:,.1f}" for share in (0.5, 0.99, 1.0)]
