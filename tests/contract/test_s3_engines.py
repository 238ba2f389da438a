"""What is particular to S3: identity, credentials, odd keys, connections, and a clean exit."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

import anyio
import pytest
from botocore.exceptions import ClientError

from cachesvc.errors import (
    AccessDeniedError,
    ObjectChangedError,
    ObjectMissingError,
    StoreUnavailableError,
)
from cachesvc.objectstore.direct_engine import IDLE_SECONDS, DirectStore
from cachesvc.objectstore.obstore_engine import ObstoreStore, is_sayable
from cachesvc.objectstore.open import open_store
from cachesvc.objectstore.origin import parse_origin
from cachesvc.objectstore.protocol import ObjectStore
from cachesvc.objectstore.s3_listing import parse_page
from cachesvc.objectstore.s3fs_engine import S3fsStore
from tests.contract.conftest import S3_ENGINES
from tests.fakes.faultproxy import FaultProxy, HangBeforeHeaders, Latency
from tests.seaweed import SECRET_KEY, SeaweedServer

Scenario = Callable[[ObjectStore], Awaitable[None]]
FOREIGN_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "somebody-else",
    "AWS_SECRET_ACCESS_KEY": "their-secret",
    "AWS_SESSION_TOKEN": "their-token",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
    "AWS_PROFILE": "nobody",
    "AWS_SKIP_SIGNATURE": "true",
    "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "true",
    "AWS_REGION": "mars-north-1",
}
READ_AND_LEAVE = """
import sys, anyio
from cachesvc.objectstore.open import open_store
from cachesvc.objectstore.origin import parse_origin

async def main():
    store = open_store(parse_origin(sys.argv[1], {"engine": "obstore"}))
    await store.put("a", b"x" * 100_000)
    async with anyio.create_task_group() as tasks:
        for _ in range(32):
            tasks.start_soon(store.get_range, "a", 0, 100_000, None)
        if sys.argv[2] == "cancelled":
            await anyio.sleep(0)
            tasks.cancel_scope.cancel()
    if sys.argv[2] == "closed":
        await store.aclose()

anyio.run(main)
"""


def play(server: SeaweedServer, url: str, options: Mapping[str, str], scenario: Scenario) -> None:
    async def run() -> None:
        store = open_store(parse_origin(url, options, server.environ))
        try:
            await scenario(store)
        finally:
            await store.aclose()

    anyio.run(run, backend="asyncio")


@pytest.fixture(params=S3_ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_the_engine_follows_the_options_and_the_proxies(
    s3_server: SeaweedServer, s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds: list[type] = []

    async def note(store: ObjectStore) -> None:
        kinds.append(type(store))

    for options in ({}, {"engine": "obstore"}, {"engine": "fsspec"}, {"requester_pays": "true"}):
        play(s3_server, s3_url, options, note)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    play(s3_server, s3_url, {}, note)
    assert kinds == [DirectStore, ObstoreStore, S3fsStore, S3fsStore, ObstoreStore]


def test_wrong_credentials_are_denied_and_not_shown(
    s3_server: SeaweedServer, s3_url: str, engine: str
) -> None:
    async def scenario(store: ObjectStore) -> None:
        for call in (store.head("a"), store.get("a"), store.put("a", b"")):
            with pytest.raises(AccessDeniedError) as caught:
                await call
            assert "wrong-secret" not in repr(caught.value)
        with pytest.raises(AccessDeniedError):
            await anext(aiter(store.list()))

    options = {"engine": engine, "key": "headrace-test", "secret": "wrong-secret"}
    play(s3_server, s3_url, options, scenario)


def test_anonymous_requests_carry_no_signature(
    s3_server: SeaweedServer, s3_url: str, engine: str
) -> None:
    async def scenario(store: ObjectStore) -> None:
        with pytest.raises(AccessDeniedError):
            await store.get("a")
        with pytest.raises(AccessDeniedError):
            await anext(aiter(store.list()))

    play(s3_server, s3_url, {"engine": engine, "anon": "true"}, scenario)


def test_the_environment_of_the_process_is_not_asked(
    s3_server: SeaweedServer, s3_url: str, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in FOREIGN_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)

    async def scenario(store: ObjectStore) -> None:
        await store.put("a", b"mine")
        assert (await store.get("a"))[0] == b"mine"
        assert [info.key async for batch in store.list() for info in batch] == ["a"]

    play(s3_server, s3_url, {"engine": engine}, scenario)


def test_a_bucket_that_is_not_there_is_missing(s3_server: SeaweedServer, engine: str) -> None:
    async def scenario(store: ObjectStore) -> None:
        with pytest.raises((ObjectMissingError, AccessDeniedError)):
            await store.get("a")
        with pytest.raises((ObjectMissingError, AccessDeniedError)):
            await anext(aiter(store.list()))

    play(s3_server, "s3://no-such-bucket/x", {"engine": engine}, scenario)


def test_a_folder_marker_is_listed_with_its_slash(
    s3_server: SeaweedServer, s3_url: str, engine: str
) -> None:
    async def scenario(store: ObjectStore) -> None:
        await store.put("folder/", b"")
        await store.put("folder/file", b"x")
        found = sorted([info.key async for batch in store.list() for info in batch])
        assert found == ["folder/", "folder/file"]

    play(s3_server, s3_url, {"engine": engine}, scenario)


def test_a_listing_of_several_pages_is_complete(
    s3_server: SeaweedServer, s3_url: str, engine: str
) -> None:
    wanted = {f"many/{number:04}" for number in range(1100)}

    async def scenario(store: ObjectStore) -> None:
        async with anyio.create_task_group() as tasks:
            for lane in range(16):
                tasks.start_soon(fill, store, sorted(wanted)[lane::16])
        batches = [batch async for batch in store.list("many/")]
        assert len(batches) > 1
        assert sorted(info.key for batch in batches for info in batch) == sorted(wanted)

    async def fill(store: ObjectStore, keys: list[str]) -> None:
        for key in keys:
            await store.put(key, b"x")

    play(s3_server, s3_url, {"engine": engine}, scenario)


def test_listed_keys_are_what_the_server_said() -> None:
    body = b"""<?xml version="1.0" encoding="UTF-8"?>
    <ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
      <EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>
      <NextContinuationToken>t&amp;1=</NextContinuationToken>
      %s
    </ListBucketResult>"""
    contents = b"""<Contents><Key>p/%s</Key><LastModified>2024-02-03T04:05:06.789Z</LastModified>
      <ETag>&quot;e&quot;</ETag><Size>7</Size></Contents>"""
    encoded = [b"", b"a+b", b"a%2Bb", b"a//b", b"dir/", b"..", b"nl%0A", b"%FF", b"%25"]
    page = parse_page(body % b"".join(contents % key for key in encoded), "p/")
    keys = [info.key for info in page.objects]
    assert keys == ["a b", "a+b", "a//b", "dir/", "..", "nl\n", "\udcff", "%"]
    assert page.following == "t&1="
    info = page.objects[0]
    assert (info.size, info.version, info.mtime_ns) == (7, "e", 1706933106789000000)


@pytest.mark.parametrize(
    "body",
    [
        b"<html>captive portal</html>",
        b"<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
        b"<ListBucketResult><Contents><Key>a</Key></Contents></ListBucketResult>",
    ],
)
def test_a_listing_that_makes_no_sense_is_no_empty_listing(body: bytes) -> None:
    with pytest.raises((ValueError, KeyError)):
        parse_page(body, "")


@pytest.mark.parametrize("key", ["a//b", "a/", "a\nb", "\x7f", "a\x01"])
def test_keys_that_obstore_cannot_say_are_known(key: str) -> None:
    assert not is_sayable(key)


def test_many_requests_share_a_large_pool(
    s3_server: SeaweedServer, s3_url: str, s3_proxy: FaultProxy, engine: str
) -> None:
    """More than botocore's ten connections are open at once."""
    proxied = replace(s3_server, endpoint=s3_proxy.endpoint)

    async def scenario(store: ObjectStore) -> None:
        await store.put("a", b"x")
        s3_proxy.inject(Latency(1.0))
        async with anyio.create_task_group() as tasks:
            for _ in range(40):
                tasks.start_soon(store.get, "a")
        assert s3_proxy.connections >= 40

    play(proxied, s3_url, {"engine": engine}, scenario)


def test_cancelling_a_request_lets_go_of_it_at_once(
    s3_server: SeaweedServer, s3_url: str, s3_proxy: FaultProxy, engine: str
) -> None:
    proxied = replace(s3_server, endpoint=s3_proxy.endpoint)
    s3_proxy.inject(HangBeforeHeaders())

    async def scenario(store: ObjectStore) -> None:
        with anyio.fail_after(20), anyio.move_on_after(0.2):
            await store.get("a")
        s3_proxy.heal()
        await store.put("a", b"x")
        assert (await store.get("a"))[0] == b"x"

    play(proxied, s3_url, {"engine": engine}, scenario)


@pytest.mark.parametrize("how", ["closed", "left open", "cancelled"])
def test_a_process_that_used_obstore_exits_cleanly(
    s3_server: SeaweedServer, s3_url: str, how: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", READ_AND_LEAVE, s3_url, how],
        env=s3_server.environ,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_s3fs_errors_keep_no_answer_that_may_quote_headers(
    s3_server: SeaweedServer, s3_url: str, engine: str
) -> None:
    async def scenario(store: ObjectStore) -> None:
        with pytest.raises(AccessDeniedError) as caught:
            await store.get("a")
        error = caught.value
        assert not isinstance(error.__cause__, ClientError)
        assert error.__suppress_context__
        assert SECRET_KEY not in repr(error)

    options = {"engine": engine, "key": "headrace-test", "secret": "wrong"}
    play(s3_server, s3_url, options, scenario)


def test_virtual_addressing_puts_the_bucket_into_the_host(engine: str) -> None:
    async def scenario() -> None:
        options = {"engine": engine, "endpoint_url": "http://localhost:9", "anon": "true"}
        origin = parse_origin("s3://bucket/x", {**options, "addressing_style": "virtual"}, {})
        store = open_store(origin)
        try:
            with pytest.raises(StoreUnavailableError, match=r"bucket\.localhost"):
                await store.get("a")
        finally:
            await store.aclose()

    anyio.run(scenario, backend="asyncio")


def test_ranges_in_turn_share_a_connection_until_it_ends(
    s3_server: SeaweedServer, s3_url: str
) -> None:
    async def scenario(store: ObjectStore) -> None:
        assert isinstance(store, DirectStore)
        await store.put("data", b"0123456789")
        for _ in range(3):
            assert await store.get_range("data", 2, 5, None) == b"234"
        ((_, connection),) = store._idle
        connection._socket.shutdown(socket.SHUT_RDWR)
        assert await store.get_range("data", 2, 5, None) == b"234"
        ((_, another),) = store._idle
        assert another is not connection

    play(s3_server, s3_url, {"engine": "direct"}, scenario)


def test_connections_that_were_idle_for_long_are_closed_when_another_comes_back(
    s3_server: SeaweedServer, s3_url: str
) -> None:
    async def scenario(store: ObjectStore) -> None:
        assert isinstance(store, DirectStore)
        await store.put("data", b"0123456789")
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(store.get_range, "data", 2, 5, None)
        (_, first), *others = store._idle
        assert others
        store._idle[0] = time.monotonic() - IDLE_SECONDS - 1, first
        assert await store.get_range("data", 2, 5, None) == b"234"
        assert [connection for _, connection in store._idle] == [each for _, each in others]
        assert first._socket.fileno() == -1

    play(s3_server, s3_url, {"engine": "direct"}, scenario)


def test_a_version_that_no_header_can_hold_is_no_version_of_anything(
    s3_server: SeaweedServer, s3_url: str
) -> None:
    async def scenario(store: ObjectStore) -> None:
        await store.put("data", b"0123")
        with pytest.raises(ObjectChangedError):
            await store.get_range("data", 0, 3, "no\r\nx-forged: 1")

    play(s3_server, s3_url, {"engine": "direct"}, scenario)
