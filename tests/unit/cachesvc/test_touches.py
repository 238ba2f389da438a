"""When the service is told of what was read."""

from __future__ import annotations

from itertools import pairwise

import trio
import trio.testing

from cachesvc.chunk import ChunkId, ObjectRef, Span
from cachesvc.touches import BUSY_SECONDS, MOST_TOUCHED, REST_SECONDS, Touches
from cachesvc.wire import MAX_TOUCHES, Touch


def span(number: int) -> Span:
    ref = ObjectRef("test://", "key", 1 << 40, None, 1 << 20)
    return Span(ref.chunk_id(number), 0, 1, 1 << 20)


class Service:
    """Keeps what it is told, and when."""

    def __init__(self) -> None:
        self.told: list[tuple[float, list[bytes]]] = []

    def tell(self, touch: Touch) -> None:
        self.told.append((round(trio.current_time() - self.began, 3), touch.chunks))

    def play(self, reads_at: dict[float, list[int]], seconds: float) -> list[float]:
        """Read chunks at these times; return when the service was told."""

        async def main() -> None:
            self.began = trio.current_time()
            touches = Touches()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(touches.run, self.tell)
                for at, numbers in reads_at.items():
                    await trio.sleep_until(self.began + at)
                    touches.add(map(span, numbers))
                await trio.sleep_until(self.began + seconds)
                nursery.cancel_scope.cancel()

        trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
        return [at for at, _ in self.told]

    @property
    def chunks(self) -> list[ChunkId]:
        return [ChunkId(chunk) for _, chunks in self.told for chunk in chunks]


def test_nothing_is_told_where_nothing_is_read() -> None:
    assert Service().play({}, 10 * REST_SECONDS) == []


def test_a_first_read_is_told_soon_and_while_there_are_more_sooner() -> None:
    reads = {0.01 + 0.02 * number: [number] for number in range(20)}
    times = Service().play(reads, 2.0)
    assert times[0] == REST_SECONDS
    gaps = [round(later - sooner, 3) for sooner, later in pairwise(times)]
    assert set(gaps) == {BUSY_SECONDS}
    assert times[-1] < 0.5


def test_who_reads_no_more_is_asked_less_often() -> None:
    times = Service().play({0.01: [1], 1.01: [2]}, 2.0)
    assert times[0] == REST_SECONDS
    assert 1.01 < times[1] <= 1.01 + REST_SECONDS
    assert len(times) == 2


def test_what_was_read_several_times_is_told_once() -> None:
    service = Service()
    service.play({0.01: [1, 2, 1], 0.02: [2]}, 1.0)
    assert sorted(service.chunks) == sorted(span(number).chunk for number in (1, 2))


def test_much_is_told_in_several_messages_and_too_much_is_forgotten() -> None:
    service = Service()
    service.play({0.01: list(range(MOST_TOUCHED)), 0.02: [MOST_TOUCHED]}, 1.0)
    assert {len(chunks) for _, chunks in service.told} == {MAX_TOUCHES}
    assert set(service.chunks) == {span(number).chunk for number in range(MOST_TOUCHED)}
