"""Retries and deadlines, on trio's mock clock: hours pass in no time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import anyio
import pytest
import trio
import trio.testing

from cachesvc.errors import (
    AccessDeniedError,
    ConditionFailedError,
    DeadlineExceededError,
    ObjectMissingError,
    StoreError,
    StoreUnavailableError,
)
from cachesvc.objectstore.paging import Page, PagedListing
from cachesvc.objectstore.protocol import IfAbsent, IfMatch, ObjectInfo
from cachesvc.objectstore.retry import RetryingStore, RetryPolicy
from tests.fakes.flaky_store import FlakyStore
from tests.fakes.memory_store import MemoryStore

POLICY = RetryPolicy(deadline_seconds=60, first_delay_seconds=0.1, max_delay_seconds=5)


def down() -> StoreUnavailableError:
    return StoreUnavailableError("503 SlowDown")


def play(scenario: Callable[[], Awaitable[None]]) -> None:
    trio.run(scenario, clock=trio.testing.MockClock(autojump_threshold=0))


class HangingStore(MemoryStore):
    """Hangs in the first calls of get_range."""

    def __init__(self, hangs: int) -> None:
        super().__init__()
        self.hangs = hangs

    async def get_range(self, key: str, start: int, stop: int, version: str | None) -> bytes:
        if self.hangs:
            self.hangs -= 1
            await anyio.sleep_forever()
        return await super().get_range(key, start, stop, version)


class PagedStore(MemoryStore):
    """Lists three pages, and fails before the second one as often as it is told to."""

    def __init__(self, failures: int) -> None:
        super().__init__()
        self.failures = failures

    def list(self, prefix: str = "") -> AsyncIterator[Sequence[ObjectInfo]]:
        return PagedListing(self._page)

    async def _page(self, following: str | None) -> Page:
        number = int(following or 0)
        if number == 1 and self.failures:
            self.failures -= 1
            raise down()
        found = [ObjectInfo(f"key {number}", 1, None, 0)]
        return Page(found, None if number == 2 else str(number + 1))


@pytest.mark.parametrize("chance", [0.0, 0.5, 0.999])
def test_delays_grow_to_a_bound_and_keep_half_of_it_at_least(chance: float) -> None:
    delays = [POLICY.delay_seconds(failures, chance) for failures in range(1, 2000)]
    assert delays == sorted(delays)
    assert all(0 < delay <= POLICY.max_delay_seconds for delay in delays)
    assert delays[-1] >= POLICY.max_delay_seconds / 2


def test_unavailable_is_asked_again() -> None:
    async def scenario() -> None:
        inner = MemoryStore()
        await inner.put("a", b"hello")
        flaky = FlakyStore(inner, {1: down(), 2: down(), 3: down()})
        assert await RetryingStore(flaky, POLICY).get_range("a", 1, 3, None) == b"el"
        assert flaky.calls == 4

    play(scenario)


@pytest.mark.parametrize("error", [ObjectMissingError, AccessDeniedError, ConditionFailedError])
def test_what_will_not_pass_is_not_asked_again(error: type[StoreError]) -> None:
    async def scenario() -> None:
        flaky = FlakyStore(MemoryStore(), {1: error("no")})
        with pytest.raises(error):
            await RetryingStore(flaky, POLICY).head("a")
        assert flaky.calls == 1

    play(scenario)


def test_at_the_deadline_the_last_failure_is_told() -> None:
    async def scenario() -> None:
        began = trio.current_time()
        flaky = FlakyStore(MemoryStore(), {call: down() for call in range(1, 1000)})
        with pytest.raises(DeadlineExceededError, match=r"/a: gave up after 60 s.*503 SlowDown"):
            await RetryingStore(flaky, POLICY).head("a")
        assert trio.current_time() - began == pytest.approx(60)

    play(scenario)


def test_a_hanging_attempt_leaves_time_for_the_next() -> None:
    async def scenario() -> None:
        store = HangingStore(hangs=2)
        await store.put("a", b"hello")
        began = trio.current_time()
        assert await RetryingStore(store, POLICY).get_range("a", 0, 5, None) == b"hello"
        assert trio.current_time() - began < 60

    play(scenario)


def test_hanging_for_ever_ends_at_the_deadline() -> None:
    async def scenario() -> None:
        began = trio.current_time()
        with pytest.raises(DeadlineExceededError):
            await RetryingStore(HangingStore(hangs=1000), POLICY).get_range("a", 0, 5, None)
        assert trio.current_time() - began == pytest.approx(60)

    play(scenario)


def test_a_caller_that_is_cancelled_is_let_go_at_once() -> None:
    async def scenario() -> None:
        began = trio.current_time()
        with trio.move_on_after(3):
            await RetryingStore(HangingStore(hangs=1000), POLICY).get_range("a", 0, 5, None)
        assert trio.current_time() - began == pytest.approx(3)

    play(scenario)


@pytest.mark.parametrize("existing", [False, True])
def test_a_conditional_write_with_a_lost_answer_has_been_made(*, existing: bool) -> None:
    async def scenario() -> None:
        inner = MemoryStore()
        condition: IfAbsent | IfMatch = IfAbsent()
        if existing:
            condition = IfMatch(await inner.put_if("ref", b"old", IfAbsent()))
        flaky = FlakyStore(inner, {1: down()}, after=True)
        version = await RetryingStore(flaky, POLICY).put_if("ref", b"mine", condition)
        assert (await inner.get("ref"))[1].version == version

    play(scenario)


def test_a_conditional_write_that_somebody_else_won_meanwhile_fails() -> None:
    async def scenario() -> None:
        inner = MemoryStore()
        await inner.put("ref", b"theirs")
        flaky = FlakyStore(inner, {1: down()})
        with pytest.raises(ConditionFailedError):
            await RetryingStore(flaky, POLICY).put_if("ref", b"mine", IfAbsent())

    play(scenario)


def test_only_the_page_that_failed_is_asked_for_again() -> None:
    async def scenario() -> None:
        store = RetryingStore(PagedStore(failures=3), POLICY)
        found = [info.key async for batch in store.list() for info in batch]
        assert found == ["key 0", "key 1", "key 2"]

    play(scenario)


def test_a_listing_that_cannot_be_taken_up_is_never_cut_short() -> None:
    async def scenario() -> None:
        inner = MemoryStore()
        await inner.put("a", b"x")
        with pytest.raises(StoreUnavailableError):
            await anext(aiter(RetryingStore(FlakyStore(inner, {1: down()}), POLICY).list()))

    play(scenario)


def test_an_upload_has_more_time_when_it_is_larger(tmp_path: Path) -> None:
    assert POLICY.for_upload(10**9).deadline_seconds > POLICY.for_upload(10).deadline_seconds
    source = tmp_path / "file"
    source.write_bytes(b"content")

    async def scenario() -> None:
        inner = MemoryStore()
        flaky = FlakyStore(inner, {1: down()})
        await RetryingStore(flaky, POLICY).put_file("copy", source)
        assert (await inner.get("copy"))[0] == b"content"

    play(scenario)
