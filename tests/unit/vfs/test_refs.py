"""Refs on a real local store: who wins, who loses, and what each is told."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachesvc.errors import ConditionFailedError, UsageError
from cachesvc.objectstore.local import LocalStore
from cachesvc.objectstore.origin import parse_origin
from cachesvc.objectstore.protocol import Condition, IfAbsent, ObjectStore
from vfs.errors import RefConflictError, RefDamagedError
from vfs.snapshots.refs import (
    Ref,
    check_ref_name,
    decode_ref,
    move_ref,
    new_ref,
    read_ref,
    read_refs,
)

FIRST, SECOND, THIRD = "1" * 40, "2" * 40, "3" * 40


def ref(snapshot_id: str, name: str = "main") -> Ref:
    return new_ref(name, snapshot_id, 1000, None)


def on_store(root: Path, action: Callable[[ObjectStore], Awaitable[None]]) -> None:
    anyio.run(action, LocalStore(parse_origin(str(root))))


def test_a_ref_that_was_never_moved_is_none(tmp_path: Path) -> None:
    async def action(store: ObjectStore) -> None:
        assert await read_ref(store, "main") is None
        assert [each async for each in read_refs(store)] == []

    on_store(tmp_path, action)


def test_a_ref_is_created_and_moved(tmp_path: Path) -> None:
    async def action(store: ObjectStore) -> None:
        await move_ref(store, None, ref(FIRST))
        stored = await read_ref(store, "main")
        assert stored is not None
        await move_ref(store, stored, ref(SECOND))
        moved = await read_ref(store, "main")
        assert moved is not None
        assert moved.ref.snapshot_id == SECOND

    on_store(tmp_path, action)


def test_creating_a_ref_that_exists_names_the_winner(tmp_path: Path) -> None:
    async def action(store: ObjectStore) -> None:
        winner = ref(FIRST)
        await move_ref(store, None, winner)
        with pytest.raises(RefConflictError) as caught:
            await move_ref(store, None, ref(SECOND))
        assert FIRST in str(caught.value)
        assert winner.moved_by in str(caught.value)
        assert winner.moved_at in str(caught.value)

    on_store(tmp_path, action)


def test_moving_a_ref_that_moved_meanwhile_names_the_winner(tmp_path: Path) -> None:
    async def action(store: ObjectStore) -> None:
        await move_ref(store, None, ref(FIRST))
        base = await read_ref(store, "main")
        await move_ref(store, base, ref(SECOND))
        with pytest.raises(RefConflictError, match=SECOND):
            await move_ref(store, base, ref(THIRD))

    on_store(tmp_path, action)


def test_moving_a_ref_that_was_deleted_says_so(tmp_path: Path) -> None:
    async def action(store: ObjectStore) -> None:
        await move_ref(store, None, ref(FIRST))
        base = await read_ref(store, "main")
        (tmp_path / "refs" / "main").unlink()
        with pytest.raises(RefConflictError, match="was deleted"):
            await move_ref(store, base, ref(SECOND))

    on_store(tmp_path, action)


def test_of_many_that_move_a_ref_at_once_one_wins(tmp_path: Path) -> None:
    outcomes: list[str] = []

    async def attempt(store: ObjectStore, wanted: Ref) -> None:
        try:
            await move_ref(store, None, wanted)
            outcomes.append("won")
        except RefConflictError:
            outcomes.append("lost")

    async def action(store: ObjectStore) -> None:
        async with anyio.create_task_group() as tasks:
            for number in range(16):
                tasks.start_soon(attempt, store, ref(f"{number:040x}"))

    on_store(tmp_path, action)
    assert sorted(outcomes) == ["lost"] * 15 + ["won"]


class WritesTwiceStore(LocalStore):
    """A store whose answer to a conditional write is lost: the repetition meets the first one."""

    async def put_if(self, key: str, data: bytes, condition: Condition) -> str:
        await super().put_if(key, data, condition)
        return await super().put_if(key, data, condition)


def test_a_lost_answer_is_not_taken_for_a_conflict(tmp_path: Path) -> None:
    store = WritesTwiceStore(parse_origin(str(tmp_path)))
    with pytest.raises(ConditionFailedError):
        anyio.run(store.put_if, "refs/other", b"", IfAbsent())
    anyio.run(move_ref, store, None, ref(FIRST))


def test_refs_are_listed_and_strangers_among_them_ignored(tmp_path: Path) -> None:
    async def action(store: ObjectStore) -> None:
        await move_ref(store, None, ref(FIRST, "main"))
        await move_ref(store, None, ref(SECOND, "v1.0"))
        (tmp_path / "refs" / "not a ref~").touch()
        found = {each.ref.name: each.ref.snapshot_id async for each in read_refs(store)}
        assert found == {"main": FIRST, "v1.0": SECOND}

    on_store(tmp_path, action)


def test_a_ref_survives_its_encoding() -> None:
    original = replace(ref(SECOND), previous_id=FIRST)
    assert decode_ref("main", original.encode()) == original


@given(st.binary(max_size=60))
def test_bytes_that_are_no_ref_are_refused(data: bytes) -> None:
    with pytest.raises(RefDamagedError, match="'main'"):
        decode_ref("main", data)


@pytest.mark.parametrize("field", ["format", "snapshot", "manifest_size", "moved_at", "token"])
@pytest.mark.parametrize("value", [None, [], "x"])
def test_a_ref_with_a_wrong_field_is_refused_or_kept_as_text(field: str, value: object) -> None:
    document = {**json.loads(ref(FIRST).encode()), field: value}
    try:
        decoded = decode_ref("main", json.dumps(document).encode())
    except RefDamagedError:
        return
    assert decoded.snapshot_id == FIRST


def test_a_ref_of_a_newer_format_says_so() -> None:
    document = {**json.loads(ref(FIRST).encode()), "format": 2}
    with pytest.raises(RefDamagedError, match="format 2, this headrace reads 1"):
        decode_ref("main", json.dumps(document).encode())


@pytest.mark.parametrize("name", ["main", "v1.0", "2024-01-01", "A_b-c.d", "x" * 100])
def test_good_ref_names_pass(name: str) -> None:
    check_ref_name(name)


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".x", "-x", "a/b", "a b", "a\n", "ä", "x" * 101, "0" * 40, "a@b", "a\0"]
)
def test_bad_ref_names_are_refused(name: str) -> None:
    with pytest.raises(UsageError):
        check_ref_name(name)
