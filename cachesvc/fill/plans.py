"""All that clients announced: who is served next, and when a chunk is needed next. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cachesvc.chunk import CHUNK_ID_SIZE, ChunkId
from cachesvc.fill.plan import IsHeld, Plan, Resolve, Step
from cachesvc.store.nextuse import NextUse
from cachesvc.wire import Announce, Progress
from cachesvc.wire import Plan as PlanMessage

MAX_USES = 1 << 21
"""Reads of all plans together, 40 to 80 bytes each; what is announced beyond is left out."""


class Plans:
    """The plans of the clients that are here (`cachesvc.store.nextuse.Schedule`).

    Bytes are shared evenly among plans that have something to fetch, and so is the room for what
    was fetched ahead. Reads of one plan are compared with those of another as if all readers were
    equally fast.
    """

    def __init__(self, room: int, max_uses: int = MAX_USES) -> None:
        """Let all plans together fetch at most *room* bytes ahead of their readers."""
        self._room = room
        self._max_uses = max_uses
        self._plans: list[Plan] = []

    def __iter__(self) -> Iterator[Plan]:
        """Iterate over the plans that there are."""
        return iter(self._plans)

    @property
    def use_count(self) -> int:
        """Reads that were announced, of all plans."""
        return sum(len(plan.order) for plan in self._plans)

    def begin(self, terms: PlanMessage, resolve: Resolve, now: float) -> Plan:
        """Return a new plan, which is served as if the others had been served nothing so far."""
        base = max((plan.base + plan.order.position for plan in self._plans), default=0)
        plan = Plan(terms, resolve, now, base)
        plan.served_size = min((each.served_size for each in self._plans), default=0)
        self._plans.append(plan)
        return plan

    def withdraw(self, plan: Plan) -> None:
        """Forget a plan; what is being fetched for it is fetched."""
        if plan in self._plans:
            self._plans.remove(plan)

    def announce(self, plan: Plan, message: Announce) -> list[ChunkId]:
        """Append to a plan, and return the chunks; all or nothing is left out."""
        if self.use_count + len(message.ids) // CHUNK_ID_SIZE > self._max_uses:
            plan.cut()
            return []
        return plan.announce(message)

    def read(self, chunks: Iterable[ChunkId], now: float) -> None:
        """Take note that somebody read *chunks*, whoever announced them."""
        for chunk in chunks if self._plans else ():
            for plan in self._plans:
                plan.read(chunk, now)

    def next_use(self, chunk: ChunkId) -> NextUse | None:
        """Return when a chunk is needed next, None when nobody announced that it is."""
        soonest: NextUse | None = None
        for plan in self._plans:
            use = plan.order.next_use(chunk)
            if use is not None:
                found = NextUse(plan.base + use, use < plan.order.cursor)
                soonest = found if soonest is None else min(soonest, found)
        return soonest

    def is_announced(self, chunk: ChunkId, now: float) -> bool:
        """Say whether a chunk is part of an order that somebody is still reading.

        It comes when it is due. One that the order has behind it counts too: among files in random
        order some seem to be read in a row, and what is guessed then is mostly behind.
        """
        return any(chunk in plan.order for plan in self._plans if plan.is_followed(now))

    def ready_at(self) -> float | None:
        """Return from when on there is something to take; None when that is not known."""
        times = [time for plan in self._plans if (time := self._ready_at(plan)) is not None]
        return min(times, default=None)

    def take(self, is_held: IsHeld, now: float) -> tuple[Plan, Step | None] | None:
        """Go on with the plan whose turn it is; None when none has anything to fetch now."""
        ready = [
            plan
            for plan in self._plans
            if (time := self._ready_at(plan)) is not None and time <= now
        ]
        if not ready:
            return None
        plan = min(ready, key=_served_size)
        return plan, plan.take(is_held, now, self._room_of_each)

    def progress(self, plan: Plan, now: float) -> Progress:
        """Return what a plan's client is told."""
        return plan.progress(self._room_of_each, now)

    def _ready_at(self, plan: Plan) -> float | None:
        return plan.ready_at(self._room_of_each)

    @property
    def _room_of_each(self) -> int:
        """How many bytes one plan may be ahead of its reader."""
        return self._room // max(1, len(self._plans))


def _served_size(plan: Plan) -> int:
    return plan.served_size
