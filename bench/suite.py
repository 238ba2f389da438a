"""Which side-by-side scenarios there are, and how much of each a dose plays."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from bench.peers import Peer
from bench.readers import Readers
from bench.results import Results
from bench.scenarios import (
    bigfile,
    epoch,
    faults,
    files,
    fio,
    first_batch,
    growth,
    inprocess,
    metadata,
)
from bench.scenarios.files import Phase
from bench.session import Dose, Session
from bench.site import FAR

Scenario = Callable[[Session], None]

SCENARIOS: Mapping[str, Scenario] = {
    first_batch.SCENARIO: first_batch.run,
    growth.SCENARIO: growth.run,
    files.SCENARIO: files.run,
    bigfile.SCENARIO: bigfile.run,
    metadata.SCENARIO: metadata.run,
    epoch.SCENARIO: epoch.run,
    inprocess.SCENARIO: inprocess.run,
    faults.SCENARIO: faults.run,
    fio.SCENARIO: fio.run,
}
"""In the order in which a whole run plays them."""
PHASES: Mapping[str, Sequence[Phase]] = {
    "cold": (Phase.COLD,),
    "warm": (Phase.WARM, Phase.WARM_ON_DISK),
    "reread": (Phase.REREAD, Phase.REREAD_BY_OPEN),
}
"""Parts of `files`, to be had alone."""


def seconds(total: float) -> Mapping[str, float]:
    """Return how long each scenario may take, of so many seconds altogether."""
    return {name: total * share for name, share in SHARES.items()}


SHARES = {
    first_batch.SCENARIO: 0.06,
    growth.SCENARIO: 0.0,  # has no time-box: it plays its rounds
    files.SCENARIO: 0.23,
    bigfile.SCENARIO: 0.16,
    metadata.SCENARIO: 0.11,
    epoch.SCENARIO: 0.34,
    inprocess.SCENARIO: 0.03,
    faults.SCENARIO: 0.04,
    fio.SCENARIO: 0.03,
}
"""As what set-up and all rounds of the full dose took of it, measured cell by cell."""
DOSES: Mapping[str, Dose] = {
    "quick": Dose("quick", rounds=1, few_rounds=1, scale=0.1, seconds=seconds(120)),
    "normal": Dose(
        "normal", rounds=3, few_rounds=1, scale=0.6, seconds=seconds(600), pass_seconds=20.0
    ),
    "full": Dose(
        "full", rounds=5, few_rounds=3, scale=1.0, seconds=seconds(1700), pass_seconds=30.0
    ),
    "long": Dose(
        "long", rounds=7, few_rounds=7, scale=1.0, seconds=seconds(7200), pass_seconds=300.0
    ),
}
"""The time-boxes hold unless the first round alone takes longer.

A pass that takes long is a peer's that loses it anyway: in an earlier run one that was given 60 s
left all others with a single round.
"""


def sentence(scenario: Scenario) -> str:
    """Return what a scenario's module says first of it."""
    return (sys.modules[scenario.__module__].__doc__ or "").partition("\n")[0]


def play(
    scratch: Path,
    scenarios: Sequence[Scenario],
    peers: Sequence[Peer],
    dose: Dose,
    say: Callable[[str], None],
) -> Iterator[Results]:
    """Play *scenarios*, all that they write below *scratch*; yield all results after each."""
    with Readers() as readers:
        session = Session(scratch, readers, peers, dose, say)
        session.results.notes += notes(dose)
        for scenario in scenarios:
            scenario(session)
            yield session.results


def notes(dose: Dose) -> Sequence[str]:
    """Return what has to be known to read the figures."""
    first, rate = FAR.first_byte_seconds * 1e3, FAR.bytes_per_second / 1e6
    return (
        f"dose '{dose.name}': medians (quartiles) of up to {dose.rounds} interleaved rounds in "
        f"the cells that count most, {dose.few_rounds} in others; "
        "ratios are taken round by round",
        f"S3 is SeaweedFS on this machine behind a relay: {first:.0f} ms to the first byte, "
        f"{rate:.0f} MB/s on each connection, where no other latency is named",
        "readers, peers, relay and S3 server share the cores: what a peer spends, all wait for",
    )
