"""Files that the workers of a mount had fetched ahead: one claims, whoever reads releases."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

from vfs.serving.awaited import (
    CLAIM_SECONDS,
    FILES_AWAITED,
    TABLE_SIZE,
    Awaited,
    Claim,
    shared_awaited,
)

FILE = (0, 7)
NOW = 1000.0


def two_workers() -> tuple[Awaited, Awaited]:
    table = bytearray(TABLE_SIZE)
    return Awaited(table), Awaited(table)


def test_a_file_is_claimed_by_one_worker() -> None:
    one, other = two_workers()
    assert one.claim(FILE, NOW)
    assert not other.claim(FILE, NOW)
    assert not one.claim(FILE, NOW)
    assert other.claim((0, 8), NOW)


def test_a_claim_ends_when_what_was_fetched_may_be_gone() -> None:
    one, other = two_workers()
    assert one.claim(FILE, NOW)
    assert not other.claim(FILE, NOW + CLAIM_SECONDS - 1)
    assert other.claim(FILE, NOW + CLAIM_SECONDS) is Claim.RENEWED
    assert other.release(FILE)
    assert other.claim(FILE, NOW + CLAIM_SECONDS) is Claim.GRANTED


def test_a_claim_from_before_the_machine_was_started_anew_holds_nobody_up() -> None:
    one, other = two_workers()
    assert one.claim(FILE, NOW)
    assert other.claim(FILE, NOW - 1) is Claim.RENEWED


def test_a_file_is_released_once_by_whoever_reads_it() -> None:
    one, other = two_workers()
    assert one.claim(FILE, NOW)
    assert other.release(FILE)
    assert not one.release(FILE)
    assert one.claim(FILE, NOW)


def test_a_file_that_was_read_late_was_awaited_all_the_same() -> None:
    awaited = Awaited()
    assert awaited.claim(FILE, NOW)
    assert not awaited.release((1, 7))
    assert awaited.release(FILE)


def test_a_file_of_another_snapshot_is_another() -> None:
    awaited = Awaited()
    assert awaited.claim((0, 7), NOW)
    assert awaited.claim((1, 7), NOW)


def test_the_last_of_two_files_with_the_same_place_is_remembered() -> None:
    awaited = Awaited()
    assert awaited.claim(FILE, NOW)
    assert awaited.claim((0, 7 + FILES_AWAITED), NOW)
    assert not awaited.release(FILE)
    assert awaited.release((0, 7 + FILES_AWAITED))


def test_processes_that_name_the_same_directory_share_a_table(tmp_path: Path) -> None:
    assert shared_awaited(tmp_path).claim(FILE, NOW)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_release, (tmp_path,))
    assert shared_awaited(tmp_path).claim(FILE, NOW)


def _release(directory: Path) -> bool:
    return shared_awaited(directory).release(FILE)


def test_who_reads_another_snapshot_does_not_meet_the_others_files(tmp_path: Path) -> None:
    assert shared_awaited(tmp_path, "cats").claim(FILE, NOW)
    assert shared_awaited(tmp_path, "dogs").claim(FILE, NOW)
    assert shared_awaited(tmp_path, "cats").release(FILE)
    assert shared_awaited(tmp_path, "dogs").release(FILE)


def test_without_a_directory_a_worker_has_a_table_of_its_own(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    assert shared_awaited(missing).claim(FILE, NOW)
    assert shared_awaited(missing).claim(FILE, NOW)
