"""What one client announced that it will read, and how far it is fetched and read. Pure.

Knows the window ahead of the reader, the pace and what is left to fetch. Knows nothing of who
fetches it or of other plans. The time is passed in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from cachesvc.chunk import CHUNK_ID_SIZE, ChunkId
from cachesvc.errors import CredentialsExpiredError, HeadraceError
from cachesvc.fill.cache import Wanted
from cachesvc.fill.pace import Pace
from cachesvc.fill.readorder import ReadOrder
from cachesvc.planned import unpack_wants
from cachesvc.store.slab import stored_size
from cachesvc.wire import Announce, Chunks, PlanState, Progress, ProtocolError
from cachesvc.wire import Plan as PlanMessage

READ_SHARE = 2
"""Once somebody reads, a plan without a bound of its own is at most this part (a half) of its room
ahead. The rest holds what was read and is needed again soonest: in a cache of half the dataset 0.55
of all reads were fetched with a half, a quarter or an eighth, 0.63 with all; 0.50 is the least."""
FULL_SECONDS = 30.0
"""How long nothing is fetched ahead after a chunk could not be stored."""

IDLE_SECONDS = 60.0
"""Who reads nothing of an order for so long may have left it, as in a notebook."""

Resolve = Callable[[Chunks], Wanted]
"""Says what to fetch and as whom; raises HeadraceError."""

IsHeld = Callable[[ChunkId], bool]
"""Says whether a chunk need not be fetched."""


@dataclass(eq=False, slots=True)
class Step:
    """Some chunks of one object that are to be fetched now, for so many uses of the plan."""

    group: Chunks
    wanted: Wanted
    use_count: int
    size: int


class Plan:
    """One client's order of reading. Tied to its connection."""

    def __init__(self, terms: PlanMessage, resolve: Resolve, now: float, base: int = 0) -> None:
        """Begin without any use; *base* is what to add to a use to compare it with other plans'."""
        self.number = terms.plan
        self.base = base
        self.order = ReadOrder()
        self.served_size = 0
        self._window_size = terms.window_size
        self._pace = Pace(terms.bandwidth)
        self._resolve = resolve
        self._pieces: deque[tuple[int, bytes]] = deque()
        self._groups: deque[Chunks] = deque()
        self._again: deque[Step] = deque()
        self._is_complete = False
        self._is_expired = False
        self._full_until = 0.0
        self._last_read = now
        self._has_readers = False
        self._flying_count = 0
        self._fetched_size = 0
        self._filled_count = 0
        self._failed_count = 0
        self._error: list[str] = []

    def announce(self, message: Announce) -> list[ChunkId]:
        """Take the next uses; return their chunks."""
        size = CHUNK_ID_SIZE
        ids = message.ids
        chunks = [ChunkId(ids[at : at + size]) for at in range(0, len(ids) - size + 1, size)]
        for chunk in chunks:
            self.order.append(chunk)
        if chunks:
            self._pieces.append((len(chunks), message.wants))
        self._is_complete = message.is_last
        return chunks

    def read(self, chunk: ChunkId, now: float) -> None:
        """Take note that somebody read a chunk, of this plan or not."""
        if chunk in self.order:
            self.order.read(chunk, now)
            self._last_read = now
            self._has_readers = True

    def is_followed(self, now: float) -> bool:
        """Say whether somebody is still reading in this order."""
        return not self.order.is_over and now - self._last_read < IDLE_SECONDS

    def cut(self) -> None:
        """Take no more uses."""
        self._is_complete = True

    def renew(self) -> None:
        """Go on after the credentials had expired."""
        self._is_expired = False

    def ready_at(self, room: int) -> float | None:
        """Return from when on there is something to take; None when that is not known.

        *room* is what the cache has for what this plan fetches ahead, in bytes.
        """
        has_more = self._again or (self._has_room(room) and (self._groups or self._pieces))
        if not has_more or self._is_expired:
            return None
        return max(self._pace.ready_at, self._full_until)

    def take(self, is_held: IsHeld, now: float, room: int) -> Step | None:
        """Go on by a group of uses, as far as there is room; None when these need no fetch.

        `ready_at` must say when.
        """
        step = self._repeated() if self._again else self._next_step(is_held, room)
        if step is not None:
            self._flying_count += 1
            self.served_size += step.size
            self._pace.spend(step.size, now)
        return step

    def filled(self, step: Step) -> None:
        """Take note that a step is done."""
        self._flying_count -= 1
        self._filled_count += step.use_count
        self._fetched_size += step.size

    def failed(self, step: Step, error: HeadraceError) -> None:
        """Take note that a step failed; with new credentials it is tried again."""
        self._flying_count -= 1
        if isinstance(error, CredentialsExpiredError):
            self._is_expired = True
            self._error = [type(error).__name__, str(error)]
            self._again.append(step)
        else:
            self._fail(step.use_count, error)

    def refused(self, now: float) -> None:
        """Take note that the store could not take a chunk: fetching ahead is no use for a while."""
        self._full_until = now + FULL_SECONDS

    def progress(self, room: int, now: float) -> Progress:
        """Return what the client is told."""
        return Progress(
            self.number,
            self.order.position,
            self._filled_count,
            self._fetched_size,
            self._failed_count,
            str(self._state(room, now)),
            self._error,
        )

    def _state(self, room: int, now: float) -> PlanState:
        """Say what the plan waits for."""
        if self._is_expired:
            return PlanState.EXPIRED
        if now < self._full_until:
            return PlanState.FULL
        if self._flying_count or self.ready_at(room) is not None:
            return PlanState.FILLING
        if self._groups or self._pieces:
            return PlanState.WAITING
        return PlanState.DONE if self._is_complete else PlanState.FILLING

    def _repeated(self) -> Step | None:
        """Return a step that is to be tried again, as whoever the client is by now."""
        step = self._again.popleft()
        try:
            wanted = self._resolve(step.group)
        except HeadraceError as error:
            self._fail(step.use_count, error)
            return None
        return replace(step, wanted=replace(wanted, indices=step.wanted.indices))

    def _window(self, room: int) -> int:
        """Return how many bytes may be fetched ahead of the reader now."""
        if self._window_size:
            return min(self._window_size, room)
        return room // READ_SHARE if self._has_readers else room

    def _has_room(self, room: int) -> bool:
        """Say whether the next group fits ahead of the reader, or what of it is worth a request.

        One chunk may always be there. None is one too many: eviction would have no room for all,
        and the plan does not come back to what was evicted.
        """
        ahead_size, limit = self.order.ahead_size, self._window(room)
        needed = _needed_size(self._groups[0], limit // 2) if self._groups else 0
        return not ahead_size or ahead_size + needed <= limit

    def _next_step(self, is_held: IsHeld, room: int) -> Step | None:
        """Count uses of the next group; return what has to be fetched for them."""
        if not self._groups:
            self._unpack()
        if not self._groups or not self._has_room(room):
            return None
        group = self._groups.popleft()
        try:
            wanted = self._resolve(group)
        except HeadraceError as error:
            self._pass_over(len(group.indices), error)
            return None
        use_count, missing = self._counted(wanted, is_held, room)
        group, rest = _split(group, use_count)
        if rest.indices:
            self._groups.appendleft(rest)
        if missing:
            needed = replace(wanted, indices=list(missing))
            return Step(group, needed, use_count, sum(missing.values()))
        self._filled_count += use_count
        return None

    def _counted(self, wanted: Wanted, is_held: IsHeld, room: int) -> tuple[int, dict[int, int]]:
        """Count uses of some chunks while there is room, of one at least.

        Returns how many, and the bytes of each chunk that must be fetched for them.
        """
        limit = self._window(room)
        missing: dict[int, int] = {}
        for count, index in enumerate(wanted.indices):
            start, stop = wanted.ref.chunk_range(index)
            size = stored_size(stop - start)
            if count and self.order.ahead_size + size > limit:
                return count, missing
            is_due = self.order.count_next(size)
            if is_due and not is_held(wanted.ref.chunk_id(index)):
                missing[index] = stop - start
        return len(wanted.indices), missing

    def _unpack(self) -> None:
        """Learn what the next uses read; pass over what cannot be understood."""
        use_count, packed = self._pieces.popleft()
        try:
            groups = unpack_wants(packed)
            if sum(len(group.indices) for group in groups) != use_count:
                raise ProtocolError("an announcement has not as many reads as it says")
        except ProtocolError as error:
            self._pass_over(use_count, error)
        else:
            self._groups.extend(groups)

    def _pass_over(self, use_count: int, error: HeadraceError) -> None:
        """Leave uses out that cannot be fetched."""
        for _ in range(use_count):
            self.order.count_next(0)
        self._fail(use_count, error)

    def _fail(self, use_count: int, error: HeadraceError) -> None:
        """Count uses as failed."""
        self._filled_count += use_count
        self._failed_count += use_count
        self._error = [type(error).__name__, str(error)]


def _needed_size(group: Chunks, enough: int) -> int:
    """Return what a group takes in the store, or *enough* if it takes more; one chunk at least.

    Nobody has checked the group yet: it is 0 for one that cannot be.
    """
    first = group.indices[0] if group.indices else 0
    if type(first) is not int:
        return 0
    size = stored_size(max(0, min(group.chunk_size, group.size - first * group.chunk_size)))
    return max(size, min(len(group.indices) * size, enough))


def _split(group: Chunks, count: int) -> tuple[Chunks, Chunks]:
    """Return the first *count* reads of a group, and the rest."""
    indices, hashes = group.indices, group.hashes
    return (
        group._replace(indices=indices[:count], hashes=hashes[:count]),
        group._replace(indices=indices[count:], hashes=hashes[count:]),
    )
