"""What the reads of several readers, answered by several workers, say of their order."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from vfs.serving.tracks import FILES, LATELY, TABLE_SIZE, TURN, Tracks, shared_tracks


def tracks_of(*numbers: int) -> Tracks:
    tracks = Tracks()
    for number in numbers:
        tracks.add((0, number), waited=True)
    return tracks


def test_a_file_is_in_order_once_the_two_before_it_were_read_by_anybody() -> None:
    table = bytearray(TABLE_SIZE)
    one, other = Tracks(table), Tracks(table)
    one.add((0, 10), waited=True)
    assert not one.leads_to((0, 12))
    other.add((0, 11), waited=True)
    assert one.leads_to((0, 12))
    assert not one.leads_to((1, 12))


def test_a_file_is_in_order_when_half_of_those_shortly_before_it_were_read() -> None:
    assert not tracks_of(1, 3, 7).leads_to((0, 8))
    assert tracks_of(1, 3, 4, 7).leads_to((0, 8))
    assert not tracks_of(1, 3, 4, 7).leads_to((0, 12))


@pytest.mark.parametrize("stride", [2, 3, 4])
def test_every_second_third_or_fourth_file_is_an_order(stride: int) -> None:
    """Images whose labels lie beside them, for one."""
    read = [100 + stride * step for step in range(4)]
    assert tracks_of(*read).leads_to((0, read[-1] + stride))
    assert not tracks_of(*read[1::2]).leads_to((0, read[-1] + stride))


def test_the_first_files_have_none_before_them() -> None:
    assert not tracks_of(1).leads_to((0, 1))
    assert not Tracks().leads_to((0, 0))


def test_what_was_read_long_ago_makes_no_order() -> None:
    others = [1000 + 20 * number for number in range(LATELY)]
    assert tracks_of(10, 11, *others[2:]).leads_to((0, 12))
    assert not tracks_of(10, 11, *others).leads_to((0, 12))


def test_who_has_to_wait_is_not_hidden_by_who_has_not() -> None:
    tracks = tracks_of(10, 11)
    for number in range(15 * LATELY):
        tracks.add((0, 1000 + number % 2000), waited=False)
    assert tracks.leads_to((0, 12))


def test_a_count_that_was_lost_makes_no_order() -> None:
    """Else all that ever left a track was read lately."""
    table = bytearray(TABLE_SIZE)
    tracks = Tracks(table)
    for number in range(10, 100):
        tracks.add((0, number), waited=True)
    table[-TURN.size :] = TURN.pack(0.0)
    assert not tracks.leads_to((0, 50))
    assert not tracks.has((0, 50))


def test_the_last_of_two_files_with_the_same_place_is_remembered() -> None:
    tracks = tracks_of(7, 7 + FILES)
    assert not tracks.has((0, 7))
    assert tracks.has((0, 7 + FILES))


def test_processes_that_name_the_same_directory_share_them(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        pool.apply(_read, (tmp_path,))
    assert shared_tracks(tmp_path).leads_to((0, 12))
    assert not shared_tracks(tmp_path / "missing").leads_to((0, 12))


def _read(directory: Path) -> None:
    for number in (10, 11):
        shared_tracks(directory).add((0, number), waited=True)
