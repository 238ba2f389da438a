from __future__ import annotations

import pytest

from bench.expected import Switching, Unchanging

VERSIONS = [{"a": b"a0", "b": b"b"}, {"a": b"a1", "b": b"b"}, {"a": b"a2", "b": b"b"}]


@pytest.fixture
def switching() -> Switching:
    """Two switches, from 10 to 11 and from 20 to 22."""
    switching = Switching(VERSIONS)
    for began, ended in ((10, 11), (20, 22)):
        switching.begin(switching.next_version, began)
        switching.end(ended)
    return switching


def test_what_never_changes_has_one_hash() -> None:
    assert set(Unchanging({"a": b"1"}).possible("a", 0, 9)) == {b"1"}


@pytest.mark.parametrize(
    ("since", "until", "expected"),
    [
        (8, 9, {b"a0"}),
        (9, 10.5, {b"a0", b"a1"}),
        (10.5, 12, {b"a0", b"a1"}),
        (12, 13, {b"a1"}),
        (21, 21, {b"a1", b"a2"}),
        (23, 24, {b"a2"}),
        (9, 24, {b"a0", b"a1", b"a2"}),
    ],
)
def test_only_versions_that_were_shown_when_a_file_was_opened_are_possible(
    switching: Switching, since: float, until: float, expected: set[bytes]
) -> None:
    assert switching.possible("a", since, until) == expected


def test_while_a_switch_lasts_both_versions_are_possible() -> None:
    switching = Switching(VERSIONS)
    switching.begin(1, 10)
    assert switching.possible("a", 99, 99) == {b"a0", b"a1"}


def test_a_file_that_is_equal_in_all_versions_has_one_hash(switching: Switching) -> None:
    assert switching.possible("b", 0, 99) == {b"b"}


def test_after_the_last_version_comes_the_first(switching: Switching) -> None:
    assert switching.next_version == 0
