"""Epochs in random order through a node's cache that holds half of the dataset.

Files are opened past the kernel's pages of the mount, as if there were no memory for them. Beside
what was fetched stands what a cache that replaces by least recent use would have fetched of the
same order, and the least that any cache could.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from bench.backing import back_memory
from bench.measure import Samples, interleaved, merged
from bench.peers import Cache
from bench.peers.published import HeadraceOffer, HeadraceS3
from bench.readers import Readers
from bench.replacement import fetched_at_least, fetched_with_lru
from bench.report import Report, Sheet, spread
from bench.site import FAR, Stored, stored
from bench.workloads import Workload, dealt, read_directly
from cachesvc.store.slab import stored_size

WORKLOAD = Workload("600 files of 323 KB", 600, 323_000)
READERS = 4
EPOCHS = 5
"""The first of them finds an empty cache and is not counted."""
SEED = 30
PASS_SECONDS = 120.0
PLACES = WORKLOAD.file_count // 2
CACHE_SIZE = PLACES * stored_size(WORKLOAD.file_size)
FETCHED, RATE = "fetched for each file read", "files/s"
LRU, LEAST = "least recently used replaced, computed", "the least possible, computed"

Figures = dict[str, float]


def run(scratch: Path, repeats: int, say: Callable[[str], None]) -> Report:
    """Play both cases in each round."""
    dataset = scratch / "data"
    WORKLOAD.make(dataset)
    mounting = ("--cache-size", str(CACHE_SIZE))
    cases = {
        "not announced": HeadraceS3(mounting=mounting),
        "announced": HeadraceS3("headrace-order", mounting=mounting, announcing=True),
    }
    with ExitStack() as stack:
        place = stack.enter_context(stored(dataset, WORKLOAD.paths(), FAR))
        readers = stack.enter_context(Readers())
        plays: dict[str, Callable[[int], Figures]] = {}
        for name, case in cases.items():
            own = scratch / case.name
            own.mkdir()
            offer = stack.enter_context(case.offered(place, own))
            plays[name] = partial(play, offer, place, readers)
        say(f"{repeats} rounds of {len(plays)} cases")
        rounds = interleaved({LRU: with_lru, **plays, LEAST: at_least}, repeats)
    return report({case: merged(found) for case, found in rounds.items()})


def epochs_of(number: int) -> list[list[str]]:
    """Return the order of each epoch of a round."""
    chance = random.Random(SEED + number)
    return [chance.sample(WORKLOAD.paths(), WORKLOAD.file_count) for _ in range(EPOCHS)]


def play(offer: HeadraceOffer, place: Stored, readers: Readers, number: int) -> Figures:
    """Read all epochs."""
    first, *others = epochs_of(number)
    back_memory()
    with (
        offer.mounted(Cache.EMPTY) as mounted,
        mounted.announced([path for epoch in (first, *others) for path in epoch]),
    ):
        readers.do(read_directly, mounted.path, dealt(first, READERS), PASS_SECONDS)
        before = place.gate.traffic()
        seconds = sum(
            readers.do(read_directly, mounted.path, dealt(epoch, READERS), PASS_SECONDS).seconds
            for epoch in others
        )
        fetched = place.gate.traffic().since(before).byte_count
    read_count = len(others) * WORKLOAD.file_count
    return {FETCHED: fetched / WORKLOAD.file_size / read_count, RATE: read_count / seconds}


def with_lru(number: int) -> Figures:
    """Return what replacing by least recent use would fetch."""
    return computed(fetched_with_lru, number)


def at_least(number: int) -> Figures:
    """Return the least that has to be fetched."""
    return computed(fetched_at_least, number)


def computed(rule: Callable[[Sequence[str], int], Sequence[bool]], number: int) -> Figures:
    """Return what a cache with this rule would fetch, one read after the other."""
    order = [path for epoch in epochs_of(number) for path in epoch]
    counted = rule(order, PLACES)[WORKLOAD.file_count :]
    return {FETCHED: sum(counted) / len(counted)}


def report(found: Mapping[str, Mapping[str, Samples]]) -> Report:
    """Return the table. There is no bar: the two computed rows are the limits."""
    rows = [
        [case, spread(figures[FETCHED], 2), spread(figures[RATE], 0) if RATE in figures else "-"]
        for case, figures in found.items()
    ]
    return Report(
        scenario="halfcache",
        notes=[
            f"{WORKLOAD.name}, {EPOCHS} epochs in random order by {READERS} readers past the "
            "kernel's pages; the first epoch is not counted",
            f"the node's cache has room for {PLACES} files; 30 ms to the store's first byte",
        ],
        sheets=[Sheet("a cache of half the dataset", ("order", FETCHED, RATE), rows)],
        bars=[],
        figures=found,
    )
