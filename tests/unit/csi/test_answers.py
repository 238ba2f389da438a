from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from csi import answers
from csi.answers import Answers
from csi.errors import MounterFailedError
from csi.question import Question
from tests.fakes.csi_resolver import FakeResolver

QUESTION: Question = {
    "source": "s3://b/d@main",
    "identity": "node",
    "environment": None,
    "mounts": "/m",
    "snapshot_id": None,
}


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def play(scenario: Callable[[Answers, FakeResolver, Clock], Awaitable[None]]) -> None:
    async def played() -> None:
        resolver, clock = FakeResolver(), Clock()
        await scenario(Answers(resolver.resolve, clock), resolver, clock)

    asyncio.run(played())


def test_pods_that_start_together_ask_once() -> None:
    async def scenario(kept: Answers, resolver: FakeResolver, _clock: Clock) -> None:
        resolver.gate.clear()
        waiting = [asyncio.create_task(kept.get(QUESTION)) for _ in range(200)]
        await asyncio.sleep(0)
        resolver.gate.set()
        found = await asyncio.gather(*waiting)
        assert len(set(map(id, found))) == 1
        assert len(resolver.questions) == 1

    play(scenario)


def test_an_answer_is_kept_for_a_short_time() -> None:
    async def scenario(kept: Answers, resolver: FakeResolver, clock: Clock) -> None:
        await kept.get(QUESTION)
        clock.now = answers.KEPT_SECONDS - 1
        await kept.get(QUESTION)
        assert len(resolver.questions) == 1
        clock.now = answers.KEPT_SECONDS
        await kept.get(QUESTION)
        assert len(resolver.questions) == 2

    play(scenario)


@pytest.mark.parametrize("name", ["identity", "source", "mounts"])
def test_who_asks_something_else_or_is_somebody_else_asks_anew(name: str) -> None:
    async def scenario(kept: Answers, resolver: FakeResolver, _clock: Clock) -> None:
        await kept.get(QUESTION)
        await kept.get({**QUESTION, name: "other"})
        assert len(resolver.questions) == 2

    play(scenario)


def test_a_fresh_token_of_the_same_identity_does_not_ask_anew() -> None:
    async def scenario(kept: Answers, resolver: FakeResolver, _clock: Clock) -> None:
        await kept.get({**QUESTION, "environment": {"token": "1"}})
        await kept.get({**QUESTION, "environment": {"token": "2"}})
        assert len(resolver.questions) == 1

    play(scenario)


def test_a_refusal_is_not_kept() -> None:
    async def scenario(kept: Answers, resolver: FakeResolver, _clock: Clock) -> None:
        resolver.fail = MounterFailedError("AccessDeniedError", "no")
        with pytest.raises(MounterFailedError):
            await kept.get(QUESTION)
        resolver.fail = None
        await kept.get(QUESTION)
        assert len(resolver.questions) == 2

    play(scenario)


def test_one_who_is_cancelled_takes_nothing_from_the_others() -> None:
    async def scenario(kept: Answers, resolver: FakeResolver, _clock: Clock) -> None:
        resolver.gate.clear()
        first, second = (asyncio.create_task(kept.get(QUESTION)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        resolver.gate.set()
        await second
        assert len(resolver.questions) == 1

    play(scenario)


def test_a_proof_is_never_an_old_answer() -> None:
    async def scenario(kept: Answers, resolver: FakeResolver, _clock: Clock) -> None:
        await kept.get(QUESTION)
        await kept.get_anew(QUESTION)
        assert len(resolver.questions) == 2

    play(scenario)


def test_answers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "MOST_KEPT", 3)

    async def scenario(kept: Answers, resolver: FakeResolver, _clock: Clock) -> None:
        for number in range(10):
            await kept.get({**QUESTION, "identity": str(number)})
        await kept.get({**QUESTION, "identity": "9"})
        assert len(resolver.questions) == 10
        await kept.get({**QUESTION, "identity": "0"})
        assert len(resolver.questions) == 11

    play(scenario)


def test_at_the_end_whoever_waits_is_let_go() -> None:
    async def scenario(kept: Answers, resolver: FakeResolver, _clock: Clock) -> None:
        resolver.gate.clear()
        waiting = asyncio.create_task(kept.get(QUESTION))
        await asyncio.sleep(0)
        await kept.close()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    play(scenario)


def test_an_answer_to_newer_credentials_ends_those_to_older_ones() -> None:
    async def scenario(kept: Answers, resolver: FakeResolver, _clock: Clock) -> None:
        other = {**QUESTION, "identity": "other"}
        await kept.get(QUESTION)
        await kept.get(other)
        await kept.get_anew({**QUESTION, "snapshot_id": "a" * 40})
        await kept.get(other)
        assert len(resolver.questions) == 3
        await kept.get(QUESTION)
        assert len(resolver.questions) == 4

    play(scenario)
