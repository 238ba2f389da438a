"""What caches would fetch of an order of reads, beside all that they could do."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from bench.replacement import fetched_at_least, fetched_with_lru

ORDERS = st.lists(st.integers(0, 4), max_size=9)
PLACES = st.integers(1, 4)


def fewest(order: Sequence[int], places: int, kept: frozenset[int] = frozenset()) -> int:
    """Return the fewest fetches of all ways to replace."""
    if not order:
        return 0
    item, rest = order[0], order[1:]
    with_it = kept | {item}
    ways = [with_it] if len(with_it) <= places else [with_it - {each} for each in with_it]
    return (item not in kept) + min(fewest(rest, places, way) for way in ways)


@given(ORDERS, PLACES)
def test_no_way_to_replace_fetches_less_than_the_least(order: list[int], places: int) -> None:
    assert sum(fetched_at_least(order, places)) == fewest(order, places)


@given(ORDERS, PLACES)
def test_what_was_used_among_the_latest_is_not_fetched(order: list[int], places: int) -> None:
    fetched = fetched_with_lru(order, places)
    for moment, item in enumerate(order):
        latest = list(dict.fromkeys(reversed(order[:moment])))[:places]
        assert fetched[moment] == (item not in latest)
