from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from bench import session as module
from bench.peers import Cache, Mounted, Offer, PeerFailedError, PeerUnavailableError
from bench.readers import Readers
from bench.results import Absence, Figure, Row
from bench.session import ALL_CELLS, Cell, Dose, Found, Session
from bench.site import FAR, Stored
from bench.workloads import Workload

SPEED = Figure("MB/s")


@dataclass(frozen=True)
class FakeOffer:
    name: str

    @contextmanager
    def mounted(self, cache: Cache) -> Iterator[Mounted]:
        raise AssertionError(f"{self.name} is not mounted here: {cache}")
        yield


@dataclass(frozen=True)
class FakePeer:
    """Is there, or is not, or breaks when it is to offer something."""

    name: str
    unavailable: str = ""
    broken: str = ""

    def version(self) -> str:
        if self.unavailable:
            raise PeerUnavailableError(self.unavailable)
        return "1"

    def settings(self) -> str:
        return f"{self.name} --fast"

    @contextmanager
    def offered(self, stored: Stored, scratch: Path) -> Iterator[FakeOffer]:
        assert scratch.is_dir()
        if self.broken:
            raise PeerFailedError(self.broken)
        yield FakeOffer(self.name)


@contextmanager
def nothing_stored(*_: object) -> Iterator[None]:
    yield None


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "stored", nothing_stored)


def session_of(scratch: Path, *peers: FakePeer, rounds: int = 3, seconds: float = 60.0) -> Session:
    dose = Dose("some", rounds, 1, 1.0, {"files": seconds})
    return Session(scratch, Readers(), peers, dose, lambda _text: None)


def cell(*, telling: bool = True, **without: str) -> Cell:
    return Cell("files", "c", Workload("w", 1, 1), FAR, without, telling)


def test_all_peers_play_all_rounds(tmp_path: Path) -> None:
    session = session_of(tmp_path, FakePeer("a"), FakePeer("b"))
    session.play([(cell(), lambda _offer, _stored, number: {("cold", SPEED): float(number)})])
    assert {row.peer: row.values for row in session.results.rows} == {
        "a": (0.0, 1.0, 2.0),
        "b": (0.0, 1.0, 2.0),
    }
    assert session.results.peers["a"].settings == "a --fast"
    assert not session.results.absences
    assert not list(tmp_path.iterdir())


def test_who_cannot_run_or_breaks_is_reported_and_the_others_play(tmp_path: Path) -> None:
    session = session_of(
        tmp_path, FakePeer("a"), FakePeer("gone", "not installed"), FakePeer("bad", broken="crash")
    )
    session.play([(cell(), lambda *_: {("cold", SPEED): 1.0})])
    assert {row.peer for row in session.results.rows} == {"a"}
    assert session.results.absences == [
        Absence("all", ALL_CELLS, "gone", "not installed"),
        Absence("files", "c", "bad", "crash"),
    ]


def test_who_fails_in_a_round_keeps_the_rounds_before_and_plays_no_more(tmp_path: Path) -> None:
    def one_round(offer: Offer, _stored: Stored, number: int) -> Found:
        if isinstance(offer, FakeOffer) and offer.name == "b" and number == 1:
            raise OSError("transport endpoint is not connected")
        return {("cold", SPEED): float(number)}

    session = session_of(tmp_path, FakePeer("a"), FakePeer("b"))
    session.play([(cell(), one_round)])
    assert {row.peer: len(row.values) for row in session.results.rows} == {"a": 3, "b": 1}
    reason = "transport endpoint is not connected"
    assert session.results.absences == [Absence("files", "c", "b", reason)]


def test_who_has_no_part_in_a_scenario_is_named_once_with_the_reason(tmp_path: Path) -> None:
    session = session_of(tmp_path, FakePeer("a"), FakePeer("copy"))
    some = cell(copy="is there already")
    session.play([(some, lambda *_: {("cold", SPEED): 1.0})] * 2)
    assert session.results.absences == [Absence("files", ALL_CELLS, "copy", "is there already")]


def test_what_is_for_one_peer_is_played_if_that_takes_part_and_may_fail(tmp_path: Path) -> None:
    def fail() -> list[Row]:
        raise PeerFailedError("crash")

    row = Row("growth", "c", "cold", "MB/s", True, "a", (1.0,))
    session = session_of(tmp_path, FakePeer("a"))
    session.play_alone("growth", "a", lambda: [row])
    session.play_alone("growth", "b", fail)
    session.play_alone("growth", "a", fail)
    assert session.results.rows == [row]
    assert session.results.absences == [Absence("growth", ALL_CELLS, "a", "crash")]


def test_when_time_is_over_each_cell_has_had_one_round(tmp_path: Path) -> None:
    session = session_of(tmp_path, FakePeer("a"), seconds=0.0)
    session.play([(cell(), lambda *_: {("cold", SPEED): 1.0})])
    assert [row.values for row in session.results.rows] == [(1.0,)]


def test_cells_that_count_less_have_fewer_rounds(tmp_path: Path) -> None:
    session = session_of(tmp_path, FakePeer("a"))
    session.play([(cell(telling=False), lambda *_: {("cold", SPEED): 1.0})])
    assert [row.values for row in session.results.rows] == [(1.0,)]


def test_what_a_cell_leaves_of_its_time_the_next_one_has(tmp_path: Path) -> None:
    said: list[str] = []
    session = replace(session_of(tmp_path, FakePeer("a"), seconds=300.0), say=said.append)
    session.play([(cell(), lambda *_: {("cold", SPEED): 1.0})] * 2)
    assert [text for text in said if text.startswith("files: c, ")] == [
        "files: c, 150 s",
        "files: c, 300 s",
    ]


def test_what_is_remarked_of_a_peer_is_noted_once(tmp_path: Path) -> None:
    def one_round(_offer: Offer, _stored: Stored, _number: int) -> Found:
        session.remark("fell over")
        return {("cold", SPEED): 1.0}

    session = session_of(tmp_path, FakePeer("a"), FakePeer("b"))
    session.play([(cell(), one_round)])
    assert session.results.notes == ["a, fell over", "b, fell over"]
