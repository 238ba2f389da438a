"""What every engine promises, on real servers and directories."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from cachesvc.errors import (
    ConditionFailedError,
    ObjectChangedError,
    ObjectMissingError,
    OutsideOriginError,
)
from cachesvc.objectstore.protocol import IfAbsent, IfMatch, ObjectInfo, ObjectStore
from tests.contract.conftest import Play

ESCAPES = ["../x", "a/../../x", "/etc/passwd", "a/./b", "..", "", "a\0b"]
NAMES = ["a b", "a+b", "pct%41", "h#x", "q?x", "ümläut", "*[x]{y}^`|", "quote\"'", "<&>", "x" * 200]


async def keys_of(store: ObjectStore, prefix: str = "") -> list[str]:
    return sorted([info.key async for batch in store.list(prefix) for info in batch])


def test_get_returns_what_was_put(play_any: Play) -> None:
    async def scenario(store: ObjectStore) -> None:
        await store.put("a/b", b"hello")
        data, info = await store.get("a/b")
        assert data == b"hello"
        assert (info.key, info.size) == ("a/b", 5)

    play_any(scenario)


def test_an_empty_object_is_an_object(play_any: Play) -> None:
    async def scenario(store: ObjectStore) -> None:
        await store.put("empty", b"")
        assert (await store.get("empty"))[0] == b""
        assert (await store.head("empty")).size == 0

    play_any(scenario)


def test_head_get_and_list_agree_on_an_object(play_any: Play) -> None:
    async def scenario(store: ObjectStore) -> None:
        await store.put("one", b"x" * 100)
        head = await store.head("one")
        listed = [info async for batch in store.list("one") for info in batch]
        assert (await store.get("one"))[1].version == head.version
        assert [info.version for info in listed] == [head.version]
        assert abs(listed[0].mtime_ns - head.mtime_ns) < 1_000_000_000

    play_any(scenario)


@pytest.mark.parametrize(("start", "stop"), [(0, 1), (3, 7), (9, 10), (0, 10), (4, 4)])
def test_a_range_is_exactly_what_was_asked_for(play_any: Play, start: int, stop: int) -> None:
    async def scenario(store: ObjectStore) -> None:
        await store.put("digits", b"0123456789")
        version = (await store.head("digits")).version
        assert await store.get_range("digits", start, stop, version) == b"0123456789"[start:stop]
        assert await store.get_range("digits", start, stop, None) == b"0123456789"[start:stop]

    play_any(scenario)


def test_a_range_of_another_version_is_refused(play_any: Play) -> None:
    async def scenario(store: ObjectStore) -> None:
        await store.put("moving", b"before")
        old = (await store.head("moving")).version
        await store.put("moving", b"after!")
        with pytest.raises(ObjectChangedError):
            await store.get_range("moving", 0, 3, old)

    play_any(scenario)


def test_a_range_past_the_end_means_that_the_object_changed(play_any: Play) -> None:
    async def scenario(store: ObjectStore) -> None:
        await store.put("short", b"0123")
        for start, stop in [(2, 8), (6, 8)]:
            with pytest.raises(ObjectChangedError):
                await store.get_range("short", start, stop, None)

    play_any(scenario)


def test_what_is_not_there_is_missing(play_any: Play) -> None:
    async def scenario(store: ObjectStore) -> None:
        await store.put("there", b"x")
        with pytest.raises(ObjectMissingError):
            await store.head("gone")
        with pytest.raises(ObjectMissingError):
            await store.get("gone")
        with pytest.raises(ObjectMissingError):
            await store.get_range("gone", 0, 1, None)

    play_any(scenario)


@pytest.mark.parametrize("key", ESCAPES)
def test_no_key_leads_out_of_the_root(play_any: Play, key: str) -> None:
    async def scenario(store: ObjectStore) -> None:
        with pytest.raises(OutsideOriginError):
            await store.head(key)
        with pytest.raises(OutsideOriginError):
            await store.get_range(key, 0, 1, None)
        with pytest.raises(OutsideOriginError):
            await store.put_if(key, b"x", IfAbsent())

    play_any(scenario)


def test_an_error_names_the_object(play_any: Play) -> None:
    async def scenario(store: ObjectStore) -> None:
        with pytest.raises(ObjectMissingError, match="some/where") as caught:
            await store.get("some/where")
        assert store.root in str(caught.value)
        assert "\n" not in str(caught.value)

    play_any(scenario)


def test_a_listing_has_every_key_once_and_nothing_else(play_any: Play) -> None:
    async def scenario(store: ObjectStore) -> None:
        assert await keys_of(store) == []
        wanted = sorted(["a", "b/c", "b/d/e", "bb", "c/x"])
        for key in wanted:
            await store.put(key, b"x")
        assert await keys_of(store) == wanted

    play_any(scenario)


@pytest.mark.parametrize(
    ("prefix", "wanted"),
    [("b", ["b/c", "b/d/e", "bb"]), ("b/", ["b/c", "b/d/e"]), ("b/d/e", ["b/d/e"]), ("z/", [])],
)
def test_a_listing_keeps_to_its_prefix(play_any: Play, prefix: str, wanted: list[str]) -> None:
    async def scenario(store: ObjectStore) -> None:
        for key in ["a", "b/c", "b/d/e", "bb"]:
            await store.put(key, b"x")
        assert await keys_of(store, prefix) == wanted

    play_any(scenario)


def test_odd_names_are_kept_unaltered(play_any: Play) -> None:
    async def scenario(store: ObjectStore) -> None:
        for name in NAMES:
            await store.put(f"odd/{name}", name.encode())
        assert await keys_of(store, "odd/") == sorted(f"odd/{name}" for name in NAMES)
        for name in NAMES:
            assert (await store.get(f"odd/{name}"))[0] == name.encode()
            assert await store.get_range(f"odd/{name}", 0, 1, None) == name.encode()[:1]

    play_any(scenario)


def test_control_characters_in_names_are_kept(play_any: Play) -> None:
    async def scenario(store: ObjectStore) -> None:
        await store.put("with\nnewline\t", b"x")
        assert await keys_of(store) == ["with\nnewline\t"]
        version = (await store.head("with\nnewline\t")).version
        assert (await store.get("with\nnewline\t"))[0] == b"x"
        assert await store.get_range("with\nnewline\t", 0, 1, version) == b"x"

    play_any(scenario)


def test_a_large_file_is_uploaded_whole(play_any: Play, tmp_path: Path) -> None:
    source = tmp_path / "large"
    content = bytes(range(256)) * (40 << 12)
    source.write_bytes(content)

    async def scenario(store: ObjectStore) -> None:
        await store.put_file("copy", source)
        info = await store.head("copy")
        assert info.size == len(content)
        middle = await store.get_range("copy", 17 << 20, (17 << 20) + 999, info.version)
        assert middle == content[17 << 20 : (17 << 20) + 999]

    play_any(scenario)


def test_put_if_absent_writes_once(play: Play) -> None:
    async def scenario(store: ObjectStore) -> None:
        version = await store.put_if("refs/main", b"1", IfAbsent())
        assert (await store.get("refs/main"))[1].version == version
        with pytest.raises(ConditionFailedError, match="refs/main"):
            await store.put_if("refs/main", b"2", IfAbsent())
        assert (await store.get("refs/main"))[0] == b"1"

    play(scenario)


def test_put_if_match_writes_over_that_version_only(play: Play) -> None:
    async def scenario(store: ObjectStore) -> None:
        first = await store.put_if("refs/main", b"1", IfAbsent())
        second = await store.put_if("refs/main", b"2", IfMatch(first))
        assert second != first
        with pytest.raises(ConditionFailedError):
            await store.put_if("refs/main", b"3", IfMatch(first))
        assert (await store.get("refs/main"))[0] == b"2"

    play(scenario)


def test_put_if_match_of_what_is_not_there_fails(play: Play) -> None:
    async def scenario(store: ObjectStore) -> None:
        with pytest.raises(ConditionFailedError):
            await store.put_if("refs/gone", b"1", IfMatch("0123456789abcdef0123456789abcdef"))

    play(scenario)


@pytest.mark.parametrize("existing", [False, True])
def test_of_many_concurrent_conditional_writes_one_wins(play: Play, *, existing: bool) -> None:
    async def scenario(store: ObjectStore) -> None:
        condition: IfAbsent | IfMatch = IfAbsent()
        if existing:
            condition = IfMatch(await store.put_if("refs/main", b"old", IfAbsent()))
        winners: list[bytes] = []

        async def contend(data: bytes) -> None:
            try:
                await store.put_if("refs/main", data, condition)
            except ConditionFailedError:
                return
            winners.append(data)

        async with anyio.create_task_group() as tasks:
            for number in range(12):
                tasks.start_soon(contend, f"writer {number}".encode())
        assert len(winners) == 1
        assert (await store.get("refs/main"))[0] == winners[0]

    play(scenario)


def test_many_ranges_can_be_in_flight(play_any: Play) -> None:
    async def scenario(store: ObjectStore) -> None:
        await store.put("shared", bytes(range(256)))
        info: ObjectInfo = await store.head("shared")
        parts: dict[int, bytes] = {}

        async def fetch(start: int) -> None:
            data = await store.get_range("shared", start, start + 4, info.version)
            parts[start] = bytes(data)

        async with anyio.create_task_group() as tasks:
            for start in range(0, 256, 4):
                tasks.start_soon(fetch, start)
        assert b"".join(parts[start] for start in sorted(parts)) == bytes(range(256))

    play_any(scenario)
