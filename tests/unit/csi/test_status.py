"""What callers see of errors: over a real connection, because gRPC has the last word."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from grpc import StatusCode, aio
from prometheus_client import CollectorRegistry

from csi import errors
from csi.metrics import DriverMetrics
from csi.proto import csi_pb2 as pb
from csi.proto import csi_pb2_grpc as rpc
from csi.status import MOST_MESSAGE, Context, StatusInterceptor, code_of, message_of
from tests.fakes.csi_calls import calling
from tests.fakes.waiting import until

CANARY = "canary-7f3a"
REQUEST = pb.NodePublishVolumeRequest(
    volume_id="volume-1", secrets={"accessKeyId": CANARY}, volume_context={"dataset": "s3://b"}
)
Work = Callable[[], Awaitable[None]]


class Node(rpc.NodeServicer):
    """Publishes by doing whatever a test wants."""

    def __init__(self, work: Work) -> None:
        self._work = work

    async def NodePublishVolume(  # noqa: N802
        self, _request: pb.NodePublishVolumeRequest, _context: Context
    ) -> pb.NodePublishVolumeResponse:
        await self._work()
        return pb.NodePublishVolumeResponse()


@asynccontextmanager
async def serving(
    work: Work, path: Path, registry: CollectorRegistry
) -> AsyncIterator[rpc.NodeStub]:
    """Serve a node that does *work*, and give a stub that calls it."""
    metrics = DriverMetrics(registry, "csi.headrace.dev", "1")
    server = aio.server(interceptors=[StatusInterceptor(metrics)])
    rpc.add_NodeServicer_to_server(Node(work), server)
    server.add_insecure_port(f"unix:{path}")
    await server.start()
    try:
        async with calling(path) as channel:
            yield rpc.NodeStub(channel)
    finally:
        await server.stop(None)


async def done() -> None:
    pass


def failing(error: Exception) -> Work:
    async def fail() -> None:
        raise error

    return fail


async def failing_cancelled() -> None:
    """Wait for work that is cancelled."""
    work = asyncio.create_task(asyncio.Event().wait())
    work.cancel()
    await work


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def refusal_of(work: Work, tmp_path: Path, registry: CollectorRegistry) -> aio.AioRpcError:
    """Return what a publish that does *work* fails with."""

    async def scenario() -> aio.AioRpcError:
        async with serving(work, tmp_path / "s", registry) as node:
            with pytest.raises(aio.AioRpcError) as raised:
                await node.NodePublishVolume(REQUEST, timeout=10)
            return raised.value

    return asyncio.run(scenario())


def calls(registry: CollectorRegistry, method: str, code: str) -> float | None:
    labels = {"method": method, "code": code}
    return registry.get_sample_value("headrace_csi_rpc_seconds_count", labels)


def test_an_error_of_ours_is_its_code_and_one_line(
    tmp_path: Path, registry: CollectorRegistry
) -> None:
    error = refusal_of(failing(errors.DeniedError("s3://b: no,\n  ask")), tmp_path, registry)
    assert error.code() is StatusCode.PERMISSION_DENIED
    assert error.details() == "s3://b: no, ask"
    assert "grpc-status-details-bin" not in dict(error.trailing_metadata())
    assert calls(registry, "NodePublishVolume", "PERMISSION_DENIED") == 1


def test_an_error_that_nobody_foresaw_is_internal_and_in_the_log_with_its_traceback(
    tmp_path: Path, registry: CollectorRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    error = refusal_of(failing(KeyError()), tmp_path, registry)
    assert error.code() is StatusCode.INTERNAL
    assert error.details() == "KeyError"
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert record.exc_info is not None


def test_a_call_that_is_not_served_says_so(tmp_path: Path, registry: CollectorRegistry) -> None:
    async def scenario() -> None:
        async with serving(done, tmp_path / "s", registry) as node:
            with pytest.raises(aio.AioRpcError) as raised:
                await node.NodeStageVolume(pb.NodeStageVolumeRequest(), timeout=10)
            assert raised.value.code() is StatusCode.UNIMPLEMENTED

    asyncio.run(scenario())


def test_no_secret_of_a_request_is_in_the_log_whatever_becomes_of_it(
    tmp_path: Path, registry: CollectorRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    async def scenario() -> None:
        for number, work in enumerate((done, failing(KeyError("x")))):
            async with serving(work, tmp_path / str(number), CollectorRegistry()) as node:
                call = node.NodePublishVolume(REQUEST, timeout=10)
                assert await call.code() in {StatusCode.OK, StatusCode.INTERNAL}

    asyncio.run(scenario())
    assert "volume-1" in caplog.text
    assert CANARY not in caplog.text


def test_a_caller_that_gives_up_is_counted_as_cancelled(
    tmp_path: Path, registry: CollectorRegistry
) -> None:
    started = asyncio.Event()

    async def hang() -> None:
        started.set()
        await asyncio.Event().wait()

    async def scenario() -> None:
        async with serving(hang, tmp_path / "s", registry) as node:
            call = node.NodePublishVolume(REQUEST, timeout=10)
            waiting = asyncio.ensure_future(call.code())
            await started.wait()
            call.cancel()
            assert await waiting is StatusCode.CANCELLED
            await until(lambda: calls(registry, "NodePublishVolume", "CANCELLED") == 1)

    asyncio.run(scenario())


def test_work_that_is_cancelled_while_its_caller_waits_is_aborted(
    tmp_path: Path, registry: CollectorRegistry
) -> None:
    error = refusal_of(failing_cancelled, tmp_path, registry)
    assert error.code() is StatusCode.ABORTED
    assert calls(registry, "NodePublishVolume", "ABORTED") == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.MounterFailedError("AccessDeniedError", "no"), StatusCode.PERMISSION_DENIED),
        (errors.MounterFailedError("SnapshotMissingError", "no"), StatusCode.NOT_FOUND),
        (errors.MounterFailedError("StoreUnavailableError", "no"), StatusCode.UNAVAILABLE),
        (errors.MounterFailedError("SomethingNewError", "no"), StatusCode.INTERNAL),
        (errors.BusyError("no"), StatusCode.ABORTED),
        (errors.CsiError("no"), StatusCode.INTERNAL),
        (OSError("no"), StatusCode.INTERNAL),
    ],
)
def test_the_code_says_what_the_kubelet_is_to_do(error: Exception, code: grpc.StatusCode) -> None:
    assert code_of(error) is code


def test_a_refinement_of_an_error_has_its_code() -> None:
    class LateError(errors.UnavailableError):
        """A cause of its own."""

    assert code_of(LateError()) is StatusCode.UNAVAILABLE


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (KeyError(), "KeyError"),
        (errors.MounterFailedError("AccessDeniedError", ""), "AccessDeniedError"),
        (errors.NotFoundError("a\nb\t c"), "a b c"),
        (errors.DeniedError("key AKIAIOSFODNN7EXAMPLE"), "key ***"),
        (errors.DeniedError("x" * 5000), "x" * MOST_MESSAGE),
    ],
)
def test_a_message_is_one_line_never_empty_and_without_secrets(
    error: Exception, message: str
) -> None:
    assert message_of(error) == message
