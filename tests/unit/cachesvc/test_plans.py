"""Plans: a window ahead of the reader, a bound on bandwidth, and fair shares."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pytest

from cachesvc.chunk import ChunkId, ObjectRef
from cachesvc.errors import CredentialsExpiredError, ObjectMissingError, StoreError
from cachesvc.fill.cache import Wanted
from cachesvc.fill.plan import FULL_SECONDS, IDLE_SECONDS, Plan, Step
from cachesvc.fill.plans import Plans
from cachesvc.planned import PiecePacker, pack_wants, unpack_wants
from cachesvc.store.slab import stored_size
from cachesvc.units import MIB
from cachesvc.want import Want, chunks_in
from cachesvc.wire import MAX_ANNOUNCED, Announce, Chunks, PlanState, ProtocolError
from cachesvc.wire import Plan as PlanMessage
from tests.fakes.memory_store import MemoryStore

SIZE = MIB
PLACE = stored_size(SIZE)
"""What a chunk of that size takes of a window."""
STORE = MemoryStore()
NOW = 1000.0


def is_nothing_held(_: ChunkId) -> bool:
    return False


def file(name: str, chunk_count: int = 1) -> ObjectRef:
    return ObjectRef(STORE.root, name, chunk_count * SIZE, None, SIZE)


def files(count: int, prefix: str = "file") -> list[Want]:
    return [Want(0, file(f"{prefix}-{number}"), 0) for number in range(count)]


def resolve(chunks: Chunks) -> Wanted:
    ref = ObjectRef(STORE.root, chunks.key, chunks.size, chunks.version, chunks.chunk_size)
    return Wanted(STORE, ref, chunks.indices)


def announce(plans: Plans, plan: Plan, wants: Iterable[Want]) -> None:
    packer = PiecePacker()
    pieces = [piece for want in wants for piece in packer.add(want)] + list(packer.flush())
    for piece in pieces:
        plans.announce(plan, Announce(plan.number, piece.ids, piece.wants, False))
    plans.announce(plan, Announce(plan.number, b"", b"", True))


def planned(
    plans: Plans, wants: Iterable[Want], window: int = 0, bandwidth: int = 0, number: int = 1
) -> Plan:
    plan = plans.begin(PlanMessage(number, window, bandwidth), resolve, NOW)
    announce(plans, plan, wants)
    return plan


def taken(plans: Plans, now: float = 0.0, held: Iterable[ChunkId] = ()) -> list[tuple[Plan, Step]]:
    """Take all that can be taken now."""
    steps = []
    while (found := plans.take(frozenset(held).__contains__, now)) is not None:
        plan, step = found
        if step is not None:
            steps.append((plan, step))
    return steps


def keys(steps: Iterable[tuple[Plan, Step]]) -> list[str]:
    return [step.wanted.ref.key for _, step in steps]


def state(plans: Plans, plan: Plan, now: float = 0.0) -> str:
    return plans.progress(plan, now).state


def test_chunks_are_fetched_in_the_order_of_the_plan() -> None:
    plans = Plans(100 * MIB)
    planned(plans, reversed(files(5)))
    assert keys(taken(plans)) == [f"file-{number}" for number in (4, 3, 2, 1, 0)]


def test_no_more_than_the_window_is_fetched_ahead_of_the_reader() -> None:
    plans = Plans(100 * MIB)
    wants = files(20)
    plan = planned(plans, wants, window=5 * PLACE - 1)
    steps = taken(plans)
    assert len(steps) == 4
    for _, step in steps:
        plan.filled(step)
    assert state(plans, plan) == PlanState.WAITING
    plans.read([wants[0].chunk, wants[1].chunk], NOW)
    assert keys(taken(plans)) == ["file-4", "file-5"]


def test_who_reads_leaves_the_cache_half_of_its_room_for_what_is_read_again() -> None:
    """Unless the client set a bound of its own."""
    wants = files(20)
    for window, ahead in ((0, 4), (7 * PLACE, 7)):
        plans = Plans(8 * PLACE)
        plan = planned(plans, wants, window=window)
        assert len(taken(plans)) == min(8, window // PLACE or 8)
        for want in wants[:10]:
            plans.read([want.chunk], NOW)
            taken(plans)
        assert plan.order.cursor == 10 + ahead


def test_all_windows_together_leave_the_store_room() -> None:
    plans = Plans(8 * PLACE)
    for number in range(2):
        planned(plans, files(20, f"of-{number}"), number=number)
    assert Counter(plan.number for plan, _ in taken(plans)) == {0: 4, 1: 4}


def test_what_is_held_costs_no_fetch_and_counts_for_the_window() -> None:
    plans = Plans(4 * PLACE)
    wants = files(6)
    plan = planned(plans, wants)
    steps = taken(plans, held=[want.chunk for want in wants[:3]])
    assert keys(steps) == ["file-3"]
    assert plans.progress(plan, 0.0).filled_count == 3


def test_a_chunk_that_many_reads_share_is_fetched_once() -> None:
    pack = file("pack", chunk_count=3)
    reads = [Want(0, pack, index) for index in (2, 0, 2, 1, 0, 2)]
    plans = Plans(100 * MIB)
    planned(plans, reads)
    fetched = [index for _, step in taken(plans) for index in step.wanted.indices]
    assert sorted(fetched) == [0, 1, 2]


def test_reads_in_a_row_of_one_object_are_one_step_of_16_mib() -> None:
    big = file("big", chunk_count=20)
    plans = Plans(100 * MIB)
    planned(plans, [Want(0, big, index) for index in range(20)])
    assert [len(step.wanted.indices) for _, step in taken(plans)] == [16, 4]


@pytest.mark.parametrize("room", [1, PLACE, 5 * PLACE, 6 * PLACE - 1, 17 * PLACE])
def test_reads_in_a_row_take_the_room_there_is_and_one_chunk_always_has_some(room: int) -> None:
    big = file("big", chunk_count=40)
    plans = Plans(room)
    plan = planned(plans, [Want(0, big, index) for index in range(40)])
    fetched: list[int] = []
    while len(fetched) < 40:
        steps = taken(plans)
        fetched += [index for _, step in steps for index in step.wanted.indices]
        assert plan.order.ahead_size <= max(room, PLACE)
        for _, step in steps:
            assert len(step.group.indices) == step.use_count
            plan.filled(step)
            plans.read([big.chunk_id(index) for index in step.wanted.indices], NOW)
    assert fetched == list(range(40))
    assert plans.progress(plan, 0.0).filled_count == 40


def test_a_full_window_moves_on_by_ranges_and_not_by_chunks() -> None:
    big = file("big", chunk_count=320)
    plans = Plans(64 * PLACE)
    plan = planned(plans, [Want(0, big, index) for index in range(320)])
    steps = taken(plans)
    for index in range(320):
        plans.read([big.chunk_id(index)], NOW)
        steps += taken(plans)
    assert plan.order.is_over
    assert [len(step.wanted.indices) for _, step in steps] == [16] * 20


def test_what_of_a_step_failed_for_want_of_credentials_is_tried_again_and_no_more() -> None:
    big = file("big", chunk_count=4)
    plans = Plans(3 * PLACE)
    plan = planned(plans, [Want(0, big, index) for index in range(4)])
    ((_, step),) = taken(plans)
    plan.failed(step, CredentialsExpiredError("expired"))
    plan.renew()
    ((_, again),) = taken(plans)
    assert again.wanted.indices == [0, 1, 2]


def test_an_order_that_nobody_reads_in_any_more_holds_nothing_back() -> None:
    plans = Plans(100 * MIB)
    wants = files(3)
    planned(plans, wants)
    later = NOW + IDLE_SECONDS
    assert plans.is_announced(wants[2].chunk, later - 1)
    assert not plans.is_announced(wants[2].chunk, later)
    plans.read([file("other").chunk_id(0)], later)
    assert not plans.is_announced(wants[2].chunk, later)
    taken(plans)
    plans.read([wants[0].chunk], later)
    assert plans.is_announced(wants[2].chunk, later + IDLE_SECONDS - 1)


def test_what_was_announced_stays_so_until_the_order_is_over() -> None:
    plans = Plans(100 * MIB)
    wants = files(3)
    planned(plans, wants)
    taken(plans)
    plans.read([wants[0].chunk], NOW)
    assert plans.is_announced(wants[0].chunk, NOW)
    assert not plans.is_announced(file("other").chunk_id(0), NOW)
    plans.read([want.chunk for want in wants], NOW)
    assert not any(plans.is_announced(want.chunk, NOW) for want in wants)


def test_the_bandwidth_is_kept_on_average() -> None:
    plans = Plans(100 * MIB)
    planned(plans, files(90), bandwidth=10 * MIB)
    times: list[float] = []
    now = 0.0
    while (ready_at := plans.ready_at()) is not None:
        now = max(now, ready_at)
        times += [now for _ in taken(plans, now)]
    assert len(times) == 90
    assert times[-1] == pytest.approx(9.0, abs=0.3)
    for start in range(80):
        assert times[start + 10] - times[start] > 0.7


def test_an_idle_plan_saves_up_no_bandwidth() -> None:
    plans = Plans(100 * MIB)
    plan = planned(plans, [], bandwidth=10 * MIB)
    announce(plans, plan, files(20))
    assert len(taken(plans, now=1000.0)) <= 2


def test_plans_get_equal_shares_of_bytes() -> None:
    plans = Plans(1000 * MIB)
    planned(plans, files(40, "small"), number=1)
    big = file("big", chunk_count=100)
    planned(plans, [Want(0, big, index) for index in range(100)], number=2)
    served: Counter[int] = Counter()
    for plan, step in taken(plans)[:20]:
        served[plan.number] += step.size
    assert abs(served[1] - served[2]) <= 16 * MIB


def test_a_plan_that_comes_later_does_not_catch_up() -> None:
    plans = Plans(1000 * MIB)
    planned(plans, files(40, "first"), number=1)
    for _ in range(20):
        plans.take(is_nothing_held, 0.0)
    planned(plans, files(40, "second"), number=2)
    shares = Counter(plan.number for plan, _ in taken(plans)[:20])
    assert shares == {1: 10, 2: 10}


def test_a_withdrawn_plan_is_not_fetched_and_keeps_nothing() -> None:
    plans = Plans(100 * MIB)
    wants = files(3)
    plan = planned(plans, wants)
    plans.withdraw(plan)
    assert taken(plans) == []
    assert plans.next_use(wants[0].chunk) is None


def test_the_soonest_of_several_readers_counts() -> None:
    plans = Plans(100 * MIB)
    wants = files(5)
    planned(plans, wants, number=1)
    planned(plans, reversed(wants), number=2)
    due = [plans.next_use(want.chunk) for want in wants]
    assert [use and use.due for use in due] == [0, 1, 2, 1, 0]
    assert plans.next_use(file("other").chunk_id(0)) is None


def test_more_reads_than_are_allowed_are_left_out() -> None:
    plans = Plans(1 << 40, max_uses=2 * MAX_ANNOUNCED)
    plan = planned(plans, files(3 * MAX_ANNOUNCED), window=1 << 40)
    steps = taken(plans)
    assert len(steps) == plans.use_count == 2 * MAX_ANNOUNCED
    for _, step in steps:
        plan.filled(step)
    assert state(plans, plan) == PlanState.DONE


def test_a_failure_is_counted_and_the_rest_is_fetched() -> None:
    plans = Plans(100 * MIB)
    plan = planned(plans, files(2))
    (_, first), (_, second) = taken(plans)
    plan.failed(first, ObjectMissingError("file-0 is gone"))
    assert state(plans, plan) == PlanState.FILLING
    plan.filled(second)
    progress = plans.progress(plan, 0.0)
    assert (progress.filled_count, progress.failed_count, progress.state) == (2, 1, PlanState.DONE)
    assert progress.error == ["ObjectMissingError", "file-0 is gone"]


def test_expired_credentials_stop_a_plan_until_there_are_others() -> None:
    plans = Plans(100 * MIB)
    plan = planned(plans, files(3), window=2 * PLACE)
    (_, first), (_, second) = taken(plans)
    plan.failed(first, CredentialsExpiredError("expired"))
    plan.filled(second)
    assert (state(plans, plan), taken(plans)) == (PlanState.EXPIRED, [])
    plan.renew()
    assert keys(taken(plans)) == ["file-0"]


def test_a_store_that_takes_nothing_stops_a_plan_for_a_while() -> None:
    plans = Plans(100 * MIB)
    plan = planned(plans, files(3))
    plans.take(is_nothing_held, 0.0)
    plan.refused(now=0.0)
    assert (state(plans, plan, 1.0), taken(plans, 1.0)) == (PlanState.FULL, [])
    assert len(taken(plans, FULL_SECONDS)) == 2


@pytest.mark.parametrize("indices", [["x"], [-1], [1 << 40]])
def test_chunks_that_cannot_be_are_passed_over(indices: list[int]) -> None:
    def refuse(chunks: Chunks) -> Wanted:
        if chunks.indices == indices:
            raise ProtocolError("no")
        return resolve(chunks)

    plans = Plans(100 * MIB)
    plan = plans.begin(PlanMessage(1, 0, 0), refuse, NOW)
    announce(plans, plan, files(1))
    group = Chunks(0, "file", SIZE, None, SIZE, indices, [])
    ids = file("file").chunk_id(0)
    plans.announce(plan, Announce(plan.number, ids, pack_wants([group]), True))
    steps = taken(plans)
    assert keys(steps) == ["file-0"]
    assert plans.progress(plan, 0.0).failed_count == 1


def test_what_cannot_be_resolved_is_passed_over() -> None:
    def refuse(chunks: Chunks) -> Wanted:
        if chunks.key == "file-1":
            raise StoreError("no")
        return resolve(chunks)

    plans = Plans(100 * MIB)
    plan = plans.begin(PlanMessage(1, 0, 0), refuse, NOW)
    announce(plans, plan, files(3))
    assert keys(taken(plans)) == ["file-0", "file-2"]


@pytest.mark.parametrize(
    "packed", [b"", b"nonsense", pack_wants([]), pack_wants([chunks_in(files(1))])]
)
def test_an_announcement_that_is_none_is_passed_over(packed: bytes) -> None:
    plans = Plans(100 * MIB)
    plan = plans.begin(PlanMessage(1, 0, 0), resolve, NOW)
    ids = b"".join(want.chunk for want in files(2))
    plans.announce(plan, Announce(1, ids, packed, False))
    announce(plans, plan, files(3, "good"))
    assert len(taken(plans)) == 3
    assert plans.progress(plan, 0.0).failed_count == 2


def test_an_announcement_that_unpacks_to_too_much_is_refused() -> None:
    with pytest.raises(ProtocolError, match="more than"):
        unpack_wants(pack_wants([chunks_in([Want(0, file("x" * (2 << 20)), 0)])]))
