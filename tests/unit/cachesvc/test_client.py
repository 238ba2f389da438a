"""The client and the server, as two processes: hits, fills, errors, touches."""

from __future__ import annotations

import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from cachesvc.chunk import ObjectRef, checksum
from cachesvc.client import CacheClient, Want, spans_of
from cachesvc.errors import (
    CacheServiceError,
    ChunkCorruptError,
    DeadlineExceededError,
    ObjectChangedError,
    ObjectMissingError,
    OutsideOriginError,
)
from cachesvc.objectstore.origin import Origin
from cachesvc.units import MIB
from cachesvc.unixsocket import connect
from cachesvc.wire import Ask, FrameBuffer, Hello, Welcome, decode, encode
from tests.fakes.cached_directory import CachedDirectory, cached_directory
from tests.fakes.waiting import until

CHUNK_SIZE = 100_000
Play = Callable[[CacheClient], Awaitable[None]]


@pytest.fixture(scope="module")
def cached(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CachedDirectory]:
    with cached_directory(tmp_path_factory.mktemp("cached")) as directory:
        yield directory


def play(cached: CachedDirectory, function: Play, backend: str = "trio") -> None:
    """Run a function with a connected client."""

    async def connected() -> None:
        async with cached.client() as client:
            await function(client)

    anyio.run(connected, backend=backend)


def all_of(ref: ObjectRef) -> list[Want]:
    return [Want(0, ref, index) for index in range(ref.chunk_count)]


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_what_was_filled_is_read_from_the_map(cached: CachedDirectory, backend: str) -> None:
    async def test(client: CacheClient) -> None:
        data = os.urandom(250_000)
        ref = await cached.write(f"file-{backend}", data, CHUNK_SIZE)
        spans = list(spans_of(ref, 50_000, 220_000))
        with client.hits(spans) as views:
            assert views is None
        assert await client.fill(all_of(ref)) == {}
        with client.hits(spans) as views:
            assert views is not None
            assert b"".join(views) == data[50_000:220_000]
        assert await client.cached_bytes(ref) == ref.size

    play(cached, test, backend)


@pytest.mark.parametrize(("start", "stop"), [(0, 1), (99_999, 100_001), (0, 250_000), (7, 7)])
def test_any_range_of_an_object_is_read(cached: CachedDirectory, start: int, stop: int) -> None:
    async def test(client: CacheClient) -> None:
        data = os.urandom(250_000)
        ref = await cached.write(f"range-{start}-{stop}", data, CHUNK_SIZE)
        assert await client.read(0, ref, start, stop) == data[start:stop]

    play(cached, test)


def test_many_objects_are_filled_at_once(cached: CachedDirectory) -> None:
    async def test(client: CacheClient) -> None:
        refs = [await cached.write(f"many/{n}", os.urandom(1000 + n)) for n in range(50)]
        assert await client.fill([Want(0, ref, 0) for ref in refs]) == {}
        for ref in refs:
            assert await client.cached_bytes(ref) == ref.size

    play(cached, test)


def test_many_readers_of_one_chunk_fetch_it_once(cached: CachedDirectory) -> None:
    async def test(client: CacheClient) -> None:
        ref = await cached.write("popular", os.urandom(2 * MIB))
        before = (await cached.stats())["chunks_fetched"]
        async with anyio.create_task_group() as tasks:
            for _ in range(30):
                tasks.start_soon(client.fill, all_of(ref))
        assert (await cached.stats())["chunks_fetched"] == before + 1

    play(cached, test)


def test_names_that_are_not_utf8_are_read(cached: CachedDirectory) -> None:
    async def test(client: CacheClient) -> None:
        ref = await cached.write(os.fsdecode(b"caf\xe9"), b"content")
        assert await client.read(0, ref, 0, 7) == b"content"

    play(cached, test)


def test_an_object_that_is_gone_is_missing(cached: CachedDirectory) -> None:
    async def test(client: CacheClient) -> None:
        ref = await cached.write("gone", b"content")
        (cached.source / "gone").unlink()
        with pytest.raises(ObjectMissingError, match="gone"):
            await client.read(0, ref, 0, 7)

    play(cached, test)


def test_an_object_that_changed_is_refused(cached: CachedDirectory) -> None:
    async def test(client: CacheClient) -> None:
        ref = await cached.write("changed", b"content")
        await cached.write("changed", b"CONTENT")
        with pytest.raises(ObjectChangedError, match="changed"):
            await client.read(0, ref, 0, 7)

    play(cached, test)


@pytest.mark.parametrize("key", ["../other", "/etc/passwd", "a/../../b", ""])
def test_a_key_outside_the_origin_is_refused(cached: CachedDirectory, key: str) -> None:
    async def test(client: CacheClient) -> None:
        ref = ObjectRef(cached.origin.root, key, 10, None)
        with pytest.raises(OutsideOriginError):
            await client.fill(all_of(ref))

    play(cached, test)


def test_the_service_computes_identities_itself(cached: CachedDirectory) -> None:
    """A client that calls another root its own cannot plant bytes under that name."""

    async def test(client: CacheClient) -> None:
        ref = await cached.write("planted", b"content")
        forged = ObjectRef("file:///elsewhere", "planted", ref.size, ref.version)
        await client.fill(all_of(forged))
        assert await client.cached_bytes(forged) == 0
        assert await client.cached_bytes(ref) == ref.size

    play(cached, test)


def test_a_wrong_hash_is_an_error_that_names_the_object(cached: CachedDirectory) -> None:
    async def test(client: CacheClient) -> None:
        ref = await cached.write("hashed", b"content")
        with pytest.raises(ChunkCorruptError, match="hashed"):
            await client.fill([Want(0, ref, 0, expected_hash=1)])
        assert await client.fill([Want(0, ref, 0, checksum(b"content"))]) == {}

    play(cached, test)


def test_an_origin_that_was_not_attached_is_an_error(cached: CachedDirectory) -> None:
    async def test(client: CacheClient) -> None:
        ref = await cached.write("unattached", b"content")
        with pytest.raises(CacheServiceError, match="no origin"):
            await client.fill([Want(3, ref, 0)])

    play(cached, test)


def test_what_is_prefetched_can_be_read(cached: CachedDirectory) -> None:
    async def test(client: CacheClient) -> None:
        ref = await cached.write("prefetched", os.urandom(250_000), CHUNK_SIZE)
        client.prefetch_nowait(all_of(ref))

        async def is_cached() -> bool:
            return await client.cached_bytes(ref) == ref.size

        await until(is_cached)

    play(cached, test)


def test_objects_are_prefetched_many_at_a_time(cached: CachedDirectory) -> None:
    async def test(client: CacheClient) -> None:
        names = [f"together-{number}" for number in range(20)]
        refs = [await cached.write(name, name.encode()) for name in names]
        client.prefetch_nowait([Want(0, ref, 0) for ref in refs])

        async def are_cached() -> bool:
            return all(client.readable(ref.chunk_id(0)) for ref in refs)

        await until(are_cached)

    play(cached, test)


def test_reads_from_the_map_are_reported(cached: CachedDirectory) -> None:
    async def test(client: CacheClient) -> None:
        ref = await cached.write("touched", b"content")
        before = (await cached.stats())["chunks_touched"]
        await client.read(0, ref, 0, 7)

        async def is_reported() -> bool:
            return bool((await cached.stats())["chunks_touched"] > before)

        await until(is_reported)

    play(cached, test)


def test_a_service_that_hangs_ends_in_an_error_in_time(tmp_path: Path) -> None:
    async def play_alone(cached: CachedDirectory) -> None:
        async with cached.client(deadline_seconds=0.2) as client:
            ref = await cached.write("slow", b"content")
            cached.zygote.suspend()
            with pytest.raises(DeadlineExceededError, match="slow"):
                await client.read(0, ref, 0, 7)

    with cached_directory(tmp_path) as cached:
        anyio.run(play_alone, cached, backend="trio")


def test_the_cached_bytes_of_a_huge_sparse_file_are_told_at_once(cached: CachedDirectory) -> None:
    async def test(client: CacheClient) -> None:
        (cached.source / "sparse").touch()
        os.truncate(cached.source / "sparse", 15 << 40)
        ref = ObjectRef(cached.origin.root, "sparse", 15 << 40, None)
        last = ref.chunk_count - 1
        with anyio.fail_after(5):
            assert await client.cached_bytes(ref) == 0
            await client.fill([Want(0, ref, 0), Want(0, ref, last)])
            assert await client.cached_bytes(ref) == 2 * ref.chunk_size
            hostile = ObjectRef(cached.origin.root, "sparse", (1 << 63) - 1, None)
            assert await client.cached_bytes(hostile) == 0

    play(cached, test)


GOOD, BAD = os.urandom(250_000), bytes(250_000)


async def cached_wrong(cached: CachedDirectory, client: CacheClient, key: str) -> ObjectRef:
    """Have wrong bytes cached of an object whose name alone stands for its content."""
    await cached.write(key, BAD)
    ref = ObjectRef(cached.origin.root, key, len(BAD), None, CHUNK_SIZE)
    assert await client.read(0, ref, 0, ref.size) == BAD
    await cached.write(key, GOOD)
    return ref


def test_what_a_reader_rejects_is_fetched_anew(cached: CachedDirectory) -> None:
    async def test(client: CacheClient) -> None:
        ref = await cached_wrong(cached, client, "rejected")
        before = await cached.stats()
        assert await client.reread(0, ref, 150_000, 160_000, BAD[:10_000]) == GOOD[150_000:160_000]
        whole = await client.read(0, ref, 0, ref.size)
        assert whole == BAD[:100_000] + GOOD[100_000:200_000] + BAD[200_000:]
        after = await cached.stats()
        assert after["chunks_disputed"] == before["chunks_disputed"] + 1
        for name in ("chunk_count", "stored_bytes", "slab_bytes"):
            assert after[name] == before[name]

    play(cached, test)


def test_what_others_had_mended_is_not_fetched_again(cached: CachedDirectory) -> None:
    async def test(client: CacheClient) -> None:
        ref = await cached_wrong(cached, client, "mended")
        before = (await cached.stats())["ranges_fetched"]
        for _ in range(3):
            assert await client.reread(0, ref, 0, 10, BAD[:10]) == GOOD[:10]
        assert (await cached.stats())["ranges_fetched"] == before + 1

    play(cached, test)


def test_what_is_rejected_and_cannot_be_fetched_stays(cached: CachedDirectory) -> None:
    async def test(client: CacheClient) -> None:
        ref = await cached_wrong(cached, client, "kept")
        (cached.source / "kept").unlink()
        with pytest.raises(ObjectMissingError, match="kept"):
            await client.reread(0, ref, 0, 10, BAD[:10])
        assert await client.cached_bytes(ref) == ref.size

    play(cached, test)


def test_a_block_keeps_its_bytes_though_they_are_rejected(cached: CachedDirectory) -> None:
    async def test(client: CacheClient) -> None:
        ref = await cached_wrong(cached, client, "held")
        with client.hits(list(spans_of(ref, 0, 10))) as views:
            assert views is not None
            await client.fill(all_of(ref), anew=True)
            assert b"".join(views) == BAD[:10]
        assert await client.read(0, ref, 0, ref.size) == GOOD

    play(cached, test)


def test_without_room_what_is_rejected_is_fetched_anew_too(tmp_path: Path) -> None:
    async def play_alone(cached: CachedDirectory) -> None:
        async with cached.client() as client:
            ref = await cached_wrong(cached, client, "carried")
            assert await client.reread(0, ref, 0, 10, BAD[:10]) == GOOD[:10]

    with cached_directory(tmp_path, free_floor=1 << 60) as cached:
        anyio.run(play_alone, cached, backend="trio")


def exchange(cached: CachedDirectory, frames: bytes) -> bytes:
    """Send bytes on a connection of one's own and return all that comes until it ends."""
    with closing(connect(cached.config.socket)) as sock:
        sock.settimeout(10)
        sock.sendall(frames)
        sock.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: sock.recv(65536), b""))


def test_a_client_that_breaks_the_protocol_is_left_and_the_others_stay(
    cached: CachedDirectory,
) -> None:
    async def test(client: CacheClient) -> None:
        assert exchange(cached, b"\xff" * 100) == b""
        assert exchange(cached, encode(Ask(1, "stats"))) == b""
        ref = await cached.write("stays", b"content")
        assert await client.read(0, ref, 0, 7) == b"content"

    play(cached, test)


def test_the_greeting_says_which_files_are_served(cached: CachedDirectory) -> None:
    cached.zygote.ensure()
    (body,) = FrameBuffer(1 << 20).feed(exchange(cached, encode(Hello(1))))
    welcome = decode(body)
    assert isinstance(welcome, Welcome)
    assert (welcome.directory, welcome.pid) == (str(cached.config.directory), cached.zygote.pid)


def test_origins_that_were_replaced_while_others_were_renewed_stay(tmp_path: Path) -> None:
    """Who renews expired credentials does not undo that somebody brought new ones meanwhile."""
    old, renewed, brought = (
        Origin("s3://b/p", {"endpoint_url": "http://h", "secret": secret})
        for secret in ("old", "renewed", "brought")
    )

    async def nothing() -> None:
        """Start no service."""

    async def renew() -> list[Origin]:
        client.replace_origins([brought], renew)
        return [renewed]

    client = CacheClient(tmp_path, [old], ensure=nothing, renew=renew)
    assert anyio.run(client._has_renewed, client._origins, backend="trio")
    assert client._origins == (brought,)
