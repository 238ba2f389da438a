"""What each error means to the kubelet, and the one place where errors become status codes.

Some codes are final: after them the kubelet forgets the volume and may never unpublish it, so
whoever raises has undone everything. ABORTED, UNAVAILABLE and RESOURCE_EXHAUSTED are not.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias, cast

import grpc
from google.protobuf.message import Message
from grpc import HandlerCallDetails, StatusCode, aio

from csi import errors
from csi.metrics import DriverMetrics
from csi.redaction import shown, without_secrets

log = logging.getLogger(__name__)

MOST_MESSAGE = 1000
"""Characters; headers of a response have a bound, and `kubectl describe pod` shows it all."""

FREQUENT = frozenset({"Probe", "NodeGetCapabilities", "NodeGetVolumeStats", "NodeGetVolumeHealth"})
"""Calls that the kubelet repeats for as long as a pod lives."""

CODE_BY_ERROR: dict[type[Exception], StatusCode] = {
    errors.InvalidArgumentError: StatusCode.INVALID_ARGUMENT,
    errors.NotFoundError: StatusCode.NOT_FOUND,
    errors.AlreadyPublishedError: StatusCode.ALREADY_EXISTS,
    errors.OtherTargetError: StatusCode.FAILED_PRECONDITION,
    errors.DeniedError: StatusCode.PERMISSION_DENIED,
    errors.UnauthenticatedError: StatusCode.UNAUTHENTICATED,
    errors.BusyError: StatusCode.ABORTED,
    errors.UnavailableError: StatusCode.UNAVAILABLE,
    errors.ExhaustedError: StatusCode.RESOURCE_EXHAUSTED,
    errors.BrokenError: StatusCode.FAILED_PRECONDITION,
    errors.ConfigurationError: StatusCode.FAILED_PRECONDITION,
    NotImplementedError: StatusCode.UNIMPLEMENTED,
}

CODE_BY_MOUNTER_ERROR = {
    # What the object store said.
    "ObjectMissingError": StatusCode.NOT_FOUND,
    "ObjectChangedError": StatusCode.FAILED_PRECONDITION,
    "AccessDeniedError": StatusCode.PERMISSION_DENIED,
    "CredentialsExpiredError": StatusCode.UNAUTHENTICATED,
    "ConditionFailedError": StatusCode.UNAVAILABLE,
    "StoreUnavailableError": StatusCode.UNAVAILABLE,
    "DeadlineExceededError": StatusCode.UNAVAILABLE,
    "StoreError": StatusCode.UNAVAILABLE,
    # What the request named.
    "UsageError": StatusCode.INVALID_ARGUMENT,
    "OutsideOriginError": StatusCode.INVALID_ARGUMENT,
    "InvalidNameError": StatusCode.INVALID_ARGUMENT,
    "SnapshotMissingError": StatusCode.NOT_FOUND,
    "AmbiguousSnapshotError": StatusCode.INVALID_ARGUMENT,
    "SourceUnreadableError": StatusCode.NOT_FOUND,
    "SourceEmptyError": StatusCode.NOT_FOUND,
    "SourceNamesError": StatusCode.INVALID_ARGUMENT,
    "NameCollisionError": StatusCode.INVALID_ARGUMENT,
    # What is wrong with the dataset and does not pass.
    "ChunkCorruptError": StatusCode.INTERNAL,
    "ManifestDamagedError": StatusCode.INTERNAL,
    "ManifestForeignError": StatusCode.FAILED_PRECONDITION,
    "ManifestNewerError": StatusCode.FAILED_PRECONDITION,
    "RefDamagedError": StatusCode.INTERNAL,
    # What is wrong with the node and may pass.
    "CacheBusyError": StatusCode.UNAVAILABLE,
    "CacheDamagedError": StatusCode.UNAVAILABLE,
    "CacheFullError": StatusCode.UNAVAILABLE,
    "CacheServiceError": StatusCode.UNAVAILABLE,
    "CacheUnusableError": StatusCode.UNAVAILABLE,
    "MountError": StatusCode.UNAVAILABLE,
    "MountBusyError": StatusCode.UNAVAILABLE,
    "ProtocolError": StatusCode.UNAVAILABLE,
    "RefConflictError": StatusCode.UNAVAILABLE,
    "ScratchError": StatusCode.UNAVAILABLE,
    "WireError": StatusCode.UNAVAILABLE,
    "WorkerFailedError": StatusCode.UNAVAILABLE,
    "ZygoteFailedError": StatusCode.UNAVAILABLE,
    "ZygoteGoneError": StatusCode.UNAVAILABLE,
    # What a resolve or a mount does not bring about.
    "MalformedRequestError": StatusCode.INTERNAL,
    "MissingAttributeError": StatusCode.INTERNAL,
    "StaleInodeError": StatusCode.INTERNAL,
    "WrongKindError": StatusCode.INTERNAL,
}
"""By the name of the class, which is all that crosses the socket."""

GIVEN_UP: Exception = errors.BusyError("given up for another operation on the volume; try again")

Context: TypeAlias = "aio.ServicerContext[Any, Any]"
AnyHandler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Call = Callable[[Any, Context], Awaitable[Message]]


def code_of(error: Exception) -> StatusCode:
    """Return the code for *error*, INTERNAL for what no table lists."""
    if isinstance(error, errors.MounterFailedError):
        return CODE_BY_MOUNTER_ERROR.get(error.name, StatusCode.INTERNAL)
    for kind in type(error).__mro__:
        if kind in CODE_BY_ERROR:
            return CODE_BY_ERROR[kind]
    return StatusCode.INTERNAL


def message_of(error: Exception) -> str:
    """Return the one line that `kubectl describe pod` shows; never empty, never a secret."""
    text = " ".join(str(error).split()) or type(error).__name__
    return without_secrets(text)[:MOST_MESSAGE]


class StatusInterceptor(aio.ServerInterceptor):
    """Turns what services raise into codes; counts and logs each call.

    `context.abort` raises an ordinary exception itself, so services never call it.
    """

    def __init__(
        self,
        metrics: DriverMetrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Count in *metrics*, with the time that *clock* tells."""
        self._metrics = metrics
        self._clock = clock

    async def intercept_service(
        self,
        continuation: Callable[[HandlerCallDetails], Awaitable[AnyHandler | None]],
        handler_call_details: HandlerCallDetails,
    ) -> AnyHandler | None:
        """Return the handler of a call, guarded; gRPC itself answers what has none."""
        handler = await continuation(handler_call_details)
        if handler is None or handler.unary_unary is None:
            return handler
        method = handler_call_details.method.rpartition("/")[2]
        return grpc.unary_unary_rpc_method_handler(
            self._guarded(method, cast("Call", handler.unary_unary)),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    def _guarded(self, method: str, call: Call) -> Call:
        async def guarded(request: Message, context: Context) -> Message:
            began = self._clock()
            code, failure = StatusCode.CANCELLED, GIVEN_UP
            try:
                response = await call(request, context)
            except asyncio.CancelledError:
                if is_being_cancelled():
                    raise
                code = code_of(failure)
            except Exception as error:  # noqa: BLE001  the edge: every error is a code
                code, failure = code_of(error), error
            else:
                code = StatusCode.OK
                _log_success(method, request, self._clock() - began)
                return response
            finally:
                self._metrics.rpc(method, code.name, self._clock() - began)
            _log_failure(method, request, code, failure)
            return await context.abort(code, message_of(failure))

        return guarded


def is_being_cancelled() -> bool:
    """Say whether whoever called has given up, as opposed to the work having been cancelled."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _log_failure(method: str, request: Message, code: StatusCode, error: Exception) -> None:
    """Log an expected failure as a line, and one that is a bug with its traceback."""
    bug = code is StatusCode.INTERNAL and not isinstance(error, errors.CsiError)
    level = logging.ERROR if bug else logging.WARNING
    text = f"{method} {code.name}: {message_of(error)}; {shown(request)}"
    log.log(level, "%s", text, exc_info=error if bug else None)


def _log_success(method: str, request: Message, seconds: float) -> None:
    level = logging.DEBUG if method in FREQUENT else logging.INFO
    if log.isEnabledFor(level):
        log.log(level, "%s OK in %.3f s: %s", method, seconds, shown(request))
