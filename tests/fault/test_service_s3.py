"""The cache before a real S3 server: credentials come with the mount, faults keep their names."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import anyio
import pytest

from cachesvc.chunk import ObjectRef
from cachesvc.client import CacheClient, PlanState, Progress, Want
from cachesvc.config import CacheConfig
from cachesvc.errors import (
    AccessDeniedError,
    CredentialsExpiredError,
    DeadlineExceededError,
    ObjectChangedError,
)
from cachesvc.objectstore.open import open_store
from cachesvc.objectstore.origin import Origin, parse_origin
from cachesvc.units import MIB
from tests.contract.conftest import S3_ENGINES
from tests.fakes.faultproxy import FaultProxy, Hold, Status
from tests.fakes.service_process import ServiceZygote, service_zygote
from tests.seaweed import SeaweedServer

DATA = os.urandom(5 * MIB)
T = TypeVar("T")


@pytest.fixture
def zygote(tmp_path: Path) -> Iterator[ServiceZygote]:
    """Services in an environment without credentials."""
    with service_zygote(CacheConfig(tmp_path / "cache", size=64 * MIB, free_floor=0)) as services:
        yield services


@dataclass(frozen=True)
class Stored:
    """One object, and a reader of it."""

    zygote: ServiceZygote
    ref: ObjectRef

    def read(
        self, origin: Origin, deadline_seconds: float = 20.0, renewed: Sequence[Origin] = ()
    ) -> bytes:
        """Read the object through the service, as whom *origin* says, or then one of *renewed*."""

        async def read(client: CacheClient) -> bytes:
            return await client.read(0, self.ref, 0, self.ref.size)

        return self.used(read, origin, deadline_seconds, renewed)

    def announce(self, origin: Origin, renewed: Sequence[Origin] = ()) -> Progress:
        """Announce to read the object, and return how that ends."""

        async def announce(client: CacheClient) -> Progress:
            client.announce_nowait([Want(0, self.ref, index) for index in range(2)])
            progress = await client.progressed()
            while progress.state != PlanState.DONE:
                progress = await client.progressed(progress)
            return progress

        return self.used(announce, origin, 20.0, renewed)

    def used(
        self,
        use: Callable[[CacheClient], Awaitable[T]],
        origin: Origin,
        deadline_seconds: float,
        renewed: Sequence[Origin],
    ) -> T:
        """Use a client that has *origin*, and then each of *renewed*."""
        left = iter(renewed)

        async def renew() -> list[Origin]:
            return [next(left, origin)]

        async def run() -> T:
            client = CacheClient(
                self.zygote.config.directory,
                [origin],
                ensure=self.zygote.ensure_async,
                renew=renew,
                deadline_seconds=deadline_seconds,
            )
            answers: list[T] = []
            errors: list[Exception] = []
            async with anyio.create_task_group() as tasks:
                await tasks.start(client.run)
                try:
                    with anyio.fail_after(60):
                        answers.append(await use(client))
                except Exception as error:  # noqa: BLE001  raised below, outside of the group
                    errors.append(error)
                tasks.cancel_scope.cancel()
            if errors:
                raise errors[0]
            return answers[0]

        return anyio.run(run, backend="trio")


async def put(origin: Origin, data: bytes) -> ObjectRef:
    """Store the object and return the reference to this version of it."""
    store = open_store(origin)
    await store.put("key", data)
    info = await store.head("key")
    await store.aclose()
    return ObjectRef(origin.root, "key", info.size, info.version)


def stored(zygote: ServiceZygote, origin: Origin) -> Stored:
    return Stored(zygote, anyio.run(put, origin, DATA, backend="asyncio"))


@pytest.mark.parametrize("engine", S3_ENGINES)
def test_an_object_in_s3_is_read_with_the_mounts_credentials(
    zygote: ServiceZygote, s3_server: SeaweedServer, s3_url: str, engine: str
) -> None:
    origin = parse_origin(s3_url, {"engine": engine}, s3_server.environ)
    assert stored(zygote, origin).read(origin) == DATA


def test_wrong_credentials_are_refused_and_the_right_ones_are_not(
    zygote: ServiceZygote, s3_server: SeaweedServer, s3_url: str
) -> None:
    origin = parse_origin(s3_url, {}, s3_server.environ)
    environ = {**s3_server.environ, "AWS_SECRET_ACCESS_KEY": "wrong"}
    wrong = parse_origin(s3_url, {}, environ)
    there = stored(zygote, origin)
    with pytest.raises(AccessDeniedError):
        there.read(wrong)
    assert there.read(origin) == DATA


def test_an_object_that_was_overwritten_is_refused(
    zygote: ServiceZygote, s3_server: SeaweedServer, s3_url: str
) -> None:
    origin = parse_origin(s3_url, {}, s3_server.environ)
    there = stored(zygote, origin)
    anyio.run(put, origin, DATA[::-1], backend="asyncio")
    with pytest.raises(ObjectChangedError):
        there.read(origin)


def test_a_server_that_does_not_listen_ends_in_time(
    zygote: ServiceZygote, s3_server: SeaweedServer, s3_url: str
) -> None:
    origin = parse_origin(s3_url, {}, s3_server.environ)
    nowhere = parse_origin(s3_url, {"endpoint_url": "http://127.0.0.1:9"}, s3_server.environ)
    there = stored(zygote, origin)
    with pytest.raises(DeadlineExceededError):
        there.read(nowhere, deadline_seconds=1.0)


def test_expired_credentials_are_renewed_once_and_the_read_goes_on(
    zygote: ServiceZygote, s3_server: SeaweedServer, s3_url: str, s3_proxy: FaultProxy
) -> None:
    place = {"endpoint_url": s3_proxy.endpoint}
    expired = parse_origin(s3_url, place, s3_server.environ)
    good = parse_origin(s3_url, {**place, "region": "eu-west-1"}, s3_server.environ)
    there = stored(zygote, expired)
    s3_proxy.inject(Status(400, "ExpiredToken"), method="GET", times=1)
    assert there.read(expired, renewed=[good]) == DATA


def test_expired_credentials_that_cannot_be_renewed_are_an_error(
    zygote: ServiceZygote, s3_server: SeaweedServer, s3_url: str, s3_proxy: FaultProxy
) -> None:
    origin = parse_origin(s3_url, {"endpoint_url": s3_proxy.endpoint}, s3_server.environ)
    there = stored(zygote, origin)
    s3_proxy.inject(Status(400, "ExpiredToken"), method="GET")
    with pytest.raises(CredentialsExpiredError):
        there.read(origin)


def test_an_announced_order_goes_on_with_renewed_credentials(
    zygote: ServiceZygote, s3_server: SeaweedServer, s3_url: str, s3_proxy: FaultProxy
) -> None:
    place = {"endpoint_url": s3_proxy.endpoint}
    expired = parse_origin(s3_url, place, s3_server.environ)
    good = parse_origin(s3_url, {**place, "region": "eu-west-1"}, s3_server.environ)
    there = stored(zygote, expired)
    s3_proxy.inject(Status(400, "ExpiredToken"), method="GET", times=1)
    progress = there.announce(expired, renewed=[good])
    assert (progress.filled_count, progress.failed_count) == (2, 0)
    assert there.read(good) == DATA


def test_a_read_that_takes_long_is_one_read_of_an_announced_order(
    zygote: ServiceZygote, s3_server: SeaweedServer, s3_url: str, s3_proxy: FaultProxy
) -> None:
    """It is told of when its bytes are there; told before it would be two, an epoch apart."""
    origin = parse_origin(s3_url, {"endpoint_url": s3_proxy.endpoint}, s3_server.environ)
    there = stored(zygote, origin)
    ref = replace(there.ref, chunk_size=64 * 1024)

    async def read(client: CacheClient) -> int:
        s3_proxy.inject(Hold(), method="GET")
        indices = range(ref.chunk_count)
        client.announce_nowait([Want(0, ref, index) for index in (*indices, 0)])
        await client.progressed()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.read, 0, ref, 0, 1)
            await anyio.sleep(0.5)
            s3_proxy.heal()
        for start in range(ref.chunk_size, ref.size, ref.chunk_size):
            await client.read(0, ref, start, start + 1)
        progress = await client.progressed()
        while progress.read_count < len(indices):
            progress = await client.progressed(progress)
        return progress.read_count

    assert there.used(read, origin, 20.0, []) == ref.chunk_count


def test_an_announced_order_without_good_credentials_is_an_error(
    zygote: ServiceZygote, s3_server: SeaweedServer, s3_url: str, s3_proxy: FaultProxy
) -> None:
    origin = parse_origin(s3_url, {"endpoint_url": s3_proxy.endpoint}, s3_server.environ)
    there = stored(zygote, origin)
    s3_proxy.inject(Status(400, "ExpiredToken"), method="GET")
    with pytest.raises(CredentialsExpiredError):
        there.announce(origin)


def test_renewed_credentials_for_another_place_are_not_taken(
    zygote: ServiceZygote, s3_server: SeaweedServer, s3_url: str, s3_proxy: FaultProxy
) -> None:
    origin = parse_origin(s3_url, {"endpoint_url": s3_proxy.endpoint}, s3_server.environ)
    elsewhere = parse_origin(s3_url, {}, s3_server.environ)
    there = stored(zygote, origin)
    s3_proxy.inject(Status(400, "ExpiredToken"), method="GET", times=1)
    with pytest.raises(CredentialsExpiredError):
        there.read(origin, renewed=[elsewhere])
