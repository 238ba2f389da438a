from __future__ import annotations

import pytest

from csi import condition
from csi.condition import Conditions, Finding
from csi.errors import MounterFailedError, NotFoundError


def test_a_failure_is_remembered_until_it_is_mended() -> None:
    conditions = Conditions()
    conditions.note_failure("v", NotFoundError("no ref"))
    assert conditions.failure("v") == Finding("PublishFailed", "no ref")
    conditions.forget_failure("v")
    assert conditions.failure("v") is None


def test_a_failure_without_words_says_its_name() -> None:
    conditions = Conditions()
    conditions.note_failure("v", KeyError())
    assert conditions.failure("v") == Finding("PublishFailed", "KeyError")


def test_the_oldest_failures_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(condition, "MOST_REMEMBERED", 2)
    conditions = Conditions()
    for name in ("a", "b", "a", "c"):
        conditions.note_failure(name, NotFoundError(name))
    assert conditions.failure("b") is None
    assert conditions.failure("a") is not None


def test_a_refusal_is_an_answer_of_object_storage() -> None:
    conditions = Conditions()
    conditions.note_answer(MounterFailedError("StoreUnavailableError", "away"))
    assert conditions.storage == Finding("ObjectStoreUnreachable", "away")
    conditions.note_answer(MounterFailedError("AccessDeniedError", "no"))
    assert conditions.storage is None
