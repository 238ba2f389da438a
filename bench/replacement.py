"""What caches of so many places would fetch of an order of reads. Pure.

The limits beside which a real cache is measured: what is replaced is what was used least recently,
as most caches do, or what is needed latest, which nobody can better (Belady, 1966).
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict, defaultdict
from collections.abc import Hashable, Sequence
from typing import TypeVar

T = TypeVar("T", bound=Hashable)


def fetched_with_lru(order: Sequence[T], places: int) -> list[bool]:
    """Say of each read whether it is fetched where what was used least recently is replaced."""
    kept: OrderedDict[T, None] = OrderedDict()
    fetched: list[bool] = []
    for item in order:
        fetched.append(item not in kept)
        kept[item] = None
        kept.move_to_end(item)
        if len(kept) > places:
            kept.popitem(last=False)
    return fetched


def fetched_at_least(order: Sequence[T], places: int) -> list[bool]:
    """Say of each read whether it is fetched where what is needed latest is replaced."""
    uses: dict[T, list[int]] = defaultdict(list)
    for moment, item in enumerate(order):
        uses[item].append(moment)
    kept: set[T] = set()
    fetched: list[bool] = []
    for moment, item in enumerate(order):
        fetched.append(item not in kept)
        kept.add(item)
        if len(kept) > places:
            kept.remove(max(kept, key=lambda each: next_use(uses[each], moment)))
    return fetched


def next_use(uses: Sequence[int], moment: int) -> float:
    """Return the first of the sorted *uses* after *moment*; infinity where there is none."""
    place = bisect_right(uses, moment)
    return uses[place] if place < len(uses) else float("inf")
