"""Positions: a set of small numbers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vfs.inprocess.positions import Positions


@given(st.lists(st.integers(0, 200)), st.lists(st.integers(0, 300)))
def test_it_is_a_set(added: list[int], asked: list[int]) -> None:
    positions = Positions()
    for position in added:
        positions.add(position)
    assert len(positions) == len(set(added))
    assert [each in positions for each in asked] == [each in set(added) for each in asked]
