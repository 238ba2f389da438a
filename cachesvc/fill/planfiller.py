"""Fetches what clients announced, in the order in which they will read it, behind all demand."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import anyio
import anyio.abc
import anyio.lowlevel

from cachesvc.chunk import ChunkId
from cachesvc.errors import CacheServiceError, HeadraceError
from cachesvc.fill.cache import ChunkCache
from cachesvc.fill.committer import Committer
from cachesvc.fill.gate import Urgency
from cachesvc.fill.plan import Plan, Resolve, Step
from cachesvc.fill.plans import Plans
from cachesvc.metrics import Metrics
from cachesvc.wire import Announce, Progress
from cachesvc.wire import Plan as PlanMessage

log = logging.getLogger(__name__)

_REPORT_SECONDS = 0.25
_LOOKS = 64
"""So many groups of uses that need no fetch are passed over before others have a turn."""

Tell = Callable[[Progress], None]


class PlanFiller:
    """Works off all plans; each belongs to a connection, which begins and withdraws it."""

    def __init__(
        self,
        plans: Plans,
        cache: ChunkCache,
        committer: Committer,
        metrics: Metrics,
        *,
        max_count: int,
        max_size: int,
    ) -> None:
        """Fill through *cache*, at most *max_count* steps at a time and about *max_size* bytes.

        What is taken is fetched, also when its plan is withdrawn or replaced meanwhile.
        """
        self._plans = plans
        self._cache = cache
        self._committer = committer
        self._metrics = metrics
        self._max_count = max_count
        self._max_size = max_size
        self._worker_count = 0
        self._flying_size = 0
        self._news = anyio.Event()
        self._listeners: dict[Plan, Tell] = {}
        self._told: dict[Plan, Progress] = {}

    def begin(self, terms: PlanMessage, resolve: Resolve, tell: Tell) -> Plan:
        """Begin a plan; *resolve* says what its chunks are, *tell* hears how far it has come."""
        plan = self._plans.begin(terms, resolve, anyio.current_time())
        self._listeners[plan] = tell
        return plan

    def withdraw(self, plan: Plan) -> None:
        """Forget a plan; the others share what it was given."""
        self._plans.withdraw(plan)
        self._listeners.pop(plan, None)
        self._news.set()

    def announce(self, plan: Plan, message: Announce) -> None:
        """Append to a plan."""
        chunks = self._plans.announce(plan, message)
        self._metrics.reads_announced += len(chunks)
        self._committer.residents.replan(chunks)
        self._news.set()

    def renew(self, plan: Plan) -> None:
        """Go on with a plan that waited for new credentials; say so too if they are no better."""
        plan.renew()
        self._told.pop(plan, None)
        self._news.set()

    def read(self, chunks: Sequence[ChunkId]) -> None:
        """Take note that chunks were read."""
        self._plans.read(chunks, anyio.current_time())
        self._news.set()

    def is_announced(self, chunk: ChunkId) -> bool:
        """Say whether a chunk is part of an order that somebody is still reading."""
        return self._plans.is_announced(chunk, anyio.current_time())

    async def run(self) -> None:
        """Serve until cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._report)
            while True:
                while self._has_room and (taken := await self._next_step()):
                    self._worker_count += 1
                    tasks.start_soon(self._work, *taken)
                await self._wait()

    @property
    def _has_room(self) -> bool:
        """Whether another step may be done at the same time."""
        return self._worker_count < self._max_count and self._has_bytes

    @property
    def _has_bytes(self) -> bool:
        return self._flying_size < self._max_size

    async def _work(self, plan: Plan, step: Step) -> None:
        """Do a step, and the next one for as long as there is one.

        With a task for each, and nothing to fetch, a step takes 56 us, so it takes 20.
        """
        taken: tuple[Plan, Step] | None = plan, step
        while taken is not None:
            await self._fill(*taken)
            taken = await self._next_step()
        self._worker_count -= 1
        self._news.set()

    async def _next_step(self) -> tuple[Plan, Step] | None:
        """Return something to fetch, None when there is nothing now."""
        looks = 0
        while self._has_bytes and (
            taken := self._plans.take(self._is_readable, anyio.current_time())
        ):
            plan, step = taken
            if step is not None:
                self._flying_size += step.size
                return plan, step
            looks += 1
            if looks % _LOOKS == 0:
                await anyio.lowlevel.checkpoint()
        return None

    def _is_readable(self, chunk: ChunkId) -> bool:
        return self._committer.residents.is_readable(chunk)

    async def _wait(self) -> None:
        """Wait until something changed, or a plan may go on for which there is room."""
        self._news = anyio.Event()
        ready_at = self._plans.ready_at() if self._has_room else None
        with anyio.move_on_after(None if ready_at is None else ready_at - anyio.current_time()):
            await self._news.wait()

    async def _fill(self, plan: Plan, step: Step) -> None:
        """Do one step."""

        async def refuse(_index: int, _data: object) -> None:
            plan.refused(anyio.current_time())

        try:
            await self._cache.fill(step.wanted, refuse, Urgency.PREFETCH)
        except HeadraceError as error:
            log.debug("what was announced cannot be fetched: %s", error)
            plan.failed(step, error)
        except Exception as error:
            log.exception("what was announced cannot be fetched")
            plan.failed(step, CacheServiceError(f"{step.wanted.ref.key}: {error!r}"))
        else:
            plan.filled(step)
        finally:
            self._flying_size -= step.size

    async def _report(self) -> None:
        """Tell clients how far their plans have come, as long as something changes."""
        while True:
            await anyio.sleep(_REPORT_SECONDS)
            now = anyio.current_time()
            progress = {plan: self._plans.progress(plan, now) for plan in self._plans}
            for plan, reached in progress.items():
                if reached != self._told.get(plan):
                    self._listeners[plan](reached)
            self._told = progress
