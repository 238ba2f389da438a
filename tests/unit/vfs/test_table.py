"""LruCache keeps what was used last, within its bound."""

from __future__ import annotations

from collections import OrderedDict

from hypothesis import given
from hypothesis import strategies as st

from vfs.manifest.table import LruCache

LIMIT = 10
OPERATIONS = st.lists(st.tuples(st.booleans(), st.integers(0, 5), st.integers(1, 6)), max_size=40)


@given(OPERATIONS)
def test_the_cache_agrees_with_a_list_ordered_by_use(
    operations: list[tuple[bool, int, int]],
) -> None:
    cache: LruCache[int] = LruCache(LIMIT)
    model: OrderedDict[int, int] = OrderedDict()
    for is_put, number, size in operations:
        if is_put:
            cache.put(number, size, size)
            model[number] = size
            model.move_to_end(number)
            while sum(model.values()) > LIMIT:
                model.popitem(last=False)
        elif number in model:
            model.move_to_end(number)
            assert cache.get(number) == model[number]
        else:
            assert cache.get(number) is None
        assert cache.size == sum(model.values()) <= LIMIT


def test_a_value_larger_than_the_bound_is_kept_alone() -> None:
    """A page must stay in memory long enough to be used, however large it is."""
    cache: LruCache[str] = LruCache(LIMIT)
    cache.put(1, "small", 1)
    cache.put(2, "large", LIMIT + 1)
    assert (cache.get(1), cache.get(2)) == (None, "large")
