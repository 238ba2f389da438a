"""Retries and deadlines around any store: all there are, since engines make one attempt only."""

from __future__ import annotations

import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import anyio

from cachesvc.errors import (
    ConditionFailedError,
    DeadlineExceededError,
    ObjectMissingError,
    StoreUnavailableError,
)
from cachesvc.objectstore.paging import PagedListing
from cachesvc.objectstore.protocol import Body, Condition, ObjectInfo, ObjectStore

T = TypeVar("T")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long to go on, and how long to wait between attempts. Pure."""

    deadline_seconds: float = 60.0
    """For one call, all attempts and pauses included."""
    first_delay_seconds: float = 0.1
    max_delay_seconds: float = 5.0
    upload_rate: float = 1e6
    """Bytes a second that an upload is given time for, on top of the deadline."""

    def delay_seconds(self, failures: int, chance: float) -> float:
        """Return the pause after so many failures; *chance* in [0, 1) spreads the clients out."""
        longest = self.first_delay_seconds * 2.0 ** min(failures - 1, 32)
        return min(longest, self.max_delay_seconds) * (0.5 + chance / 2)

    def attempt_seconds(self, timeouts: int) -> float:
        """Return how long one attempt may take after so many that were cut off.

        The first gets a quarter of the deadline, so that a dead connection does not use up all of
        it; each later one twice as much, so that a slow answer does arrive.
        """
        return self.deadline_seconds / 4 * 2.0 ** min(timeouts, 32)

    def for_upload(self, size: int) -> RetryPolicy:
        """Return the policy for an upload of *size* bytes."""
        return replace(self, deadline_seconds=self.deadline_seconds + size / self.upload_rate)


class RetryingStore:
    """Asks another store again while it is unavailable, until a deadline has passed.

    Then raises DeadlineExceededError, which tells the last failure. Every other error passes at
    once. Closing it closes the store inside.
    """

    def __init__(
        self,
        inner: ObjectStore,
        policy: RetryPolicy | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Wrap *inner*; *chance* is the source of jitter."""
        self._inner = inner
        self._policy = policy or RetryPolicy()
        self._chance = chance

    @property
    def root(self) -> str:
        """The inner store's root."""
        return self._inner.root

    async def head(self, key: str) -> ObjectInfo:
        """Return what the store knows of one object."""
        return await self._retry(key, lambda: self._inner.head(key))

    async def get(self, key: str) -> tuple[bytes, ObjectInfo]:
        """Return a small object whole."""
        return await self._retry(key, lambda: self._inner.get(key))

    async def get_range(self, key: str, start: int, stop: int, version: str | None) -> Body:
        """Return exactly the bytes `[start, stop)` of that version of the object."""
        return await self._retry(key, lambda: self._inner.get_range(key, start, stop, version))

    def list(self, prefix: str = "") -> AsyncIterator[Sequence[ObjectInfo]]:
        """Yield batches of objects; the deadline is for each batch, not for the whole listing.

        A batch of a `PagedListing` is asked for again; other listings end with their first error.
        """
        batches = aiter(self._inner.list(prefix))
        step = self._retry if isinstance(batches, PagedListing) else self._once
        return _PatientListing(lambda: step(prefix, lambda: _next_batch(batches)))

    async def put(self, key: str, data: bytes) -> None:
        """Write a small object, whatever was there."""
        await self._retry(key, lambda: self._inner.put(key, data))

    async def put_file(self, key: str, path: Path) -> None:
        """Upload a file; the deadline grows with its size."""
        size = (await anyio.Path(path).stat()).st_size
        patient = self._policy.for_upload(size)
        await self._retry(key, lambda: self._inner.put_file(key, path), patient)

    async def put_if(self, key: str, data: bytes, condition: Condition) -> str:
        """Write a small object if *condition* holds, exactly once.

        When an answer is lost, the next attempt may meet the object that the first one wrote: it is
        read back, and if it is ours, the write has succeeded. So *data* should be unique to the
        writer.
        """
        write = _ConditionalWrite(self._inner, key, data, condition)
        return await self._retry(key, write.attempt)

    async def aclose(self) -> None:
        """Close the inner store."""
        await self._inner.aclose()

    async def _retry(
        self, key: str, call: Callable[[], Awaitable[T]], policy: RetryPolicy | None = None
    ) -> T:
        policy = policy or self._policy
        failures: list[StoreUnavailableError] = []
        with anyio.move_on_after(policy.deadline_seconds):
            while True:
                try:
                    return await _within(policy.attempt_seconds(_timeouts(failures)), call)
                except StoreUnavailableError as exc:
                    log.debug("attempt %d failed: %s", len(failures) + 1, exc)
                    failures.append(exc)
                await anyio.sleep(policy.delay_seconds(len(failures), self._chance()))
        raise self._given_up(key, policy.deadline_seconds, failures[-1] if failures else None)

    async def _once(self, key: str, call: Callable[[], Awaitable[T]]) -> T:
        with anyio.move_on_after(self._policy.deadline_seconds):
            return await call()
        raise self._given_up(key, self._policy.deadline_seconds, None)

    def _given_up(
        self, key: str, seconds: float, last: StoreUnavailableError | None
    ) -> DeadlineExceededError:
        reason = f"the last failure: {last}" if last else "no answer"
        error = DeadlineExceededError(f"{self.root}/{key}: gave up after {seconds:g} s; {reason}")
        error.__cause__ = last
        return error


async def _next_batch(batches: AsyncIterator[Sequence[ObjectInfo]]) -> Sequence[ObjectInfo]:
    # Not anext(batches, ()): in Python 3.11 that is a SystemError when no await had to wait.
    try:
        return await anext(batches)
    except StopAsyncIteration:
        return ()


@dataclass(frozen=True, slots=True)
class _PatientListing:
    """An asynchronous iterator over what *step* returns, until that is empty."""

    step: Callable[[], Awaitable[Sequence[ObjectInfo]]]

    def __aiter__(self) -> _PatientListing:
        return self

    async def __anext__(self) -> Sequence[ObjectInfo]:
        batch = await self.step()
        if not batch:
            raise StopAsyncIteration
        return batch


@dataclass(slots=True)
class _ConditionalWrite:
    """One conditional write, as often as it is attempted."""

    store: ObjectStore
    key: str
    data: bytes
    condition: Condition
    answer_lost: bool = False

    async def attempt(self) -> str:
        """Write, or find that an earlier attempt has written."""
        answer_lost, self.answer_lost = self.answer_lost, True
        try:
            return await self.store.put_if(self.key, self.data, self.condition)
        except ConditionFailedError:
            version = await self._version_if_ours() if answer_lost else None
            if version is None:
                raise
            return version

    async def _version_if_ours(self) -> str | None:
        try:
            data, info = await self.store.get(self.key)
        except ObjectMissingError:
            return None
        return info.version if data == self.data else None


async def _within(seconds: float, call: Callable[[], Awaitable[T]]) -> T:
    with anyio.move_on_after(seconds):
        return await call()
    message = f"no answer within {seconds:g} s"
    raise DeadlineExceededError(message)


def _timeouts(failures: Sequence[StoreUnavailableError]) -> int:
    return sum(isinstance(each, DeadlineExceededError) for each in failures)
