"""What each process of the driver has: logging, signals, work in the background, servers."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from grpc import aio
from prometheus_client import CollectorRegistry, disable_created_metrics

from csi.config import DriverConfig
from csi.errors import CsiError
from csi.health import Health
from csi.metrics import DriverMetrics
from csi.redaction import RedactingFormatter
from csi.server import SocketServer, prepare
from csi.status import StatusInterceptor
from vfs.mounting.process import forbid_core_dumps

log = logging.getLogger(__name__)

GRACE_SECONDS = 10.0
"""For calls under way when the process is told to stop."""
BEAT_SECONDS = 1.0
MOST_CALLS = 1000
"""At once; gRPC refuses more with RESOURCE_EXHAUSTED, after which the kubelet tries again."""
LOG_FORMAT = "%(asctime)s %(levelname)s csi[%(process)d] %(name)s: %(message)s"


AddService = Callable[[aio.Server], None]


@dataclass(frozen=True, slots=True)
class Watch:
    """How a process tells of itself."""

    registry: CollectorRegistry
    metrics: DriverMetrics
    health: Health = field(default_factory=Health)


def log_to_stderr(level: str) -> None:
    """Let this process log, without secrets: the whole set-up, to be called once."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(RedactingFormatter(LOG_FORMAT))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def run(main: Coroutine[Any, Any, None], log_level: str) -> None:
    """Be a process that does *main*. A failure that nobody foresaw is logged with its traceback."""
    log_to_stderr(log_level)
    forbid_core_dumps()
    try:
        asyncio.run(main)
    except CsiError:
        raise
    except Exception:
        log.exception("the driver ends")
        sys.exit(1)


def stop_on_signals() -> asyncio.Event:
    """Return what is set when the process is asked to end."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


def watch_of(config: DriverConfig) -> Watch:
    """Return what the process of *config* tells of itself, which is nothing yet."""
    disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    return Watch(registry, DriverMetrics(registry, config.driver_name, config.version))


def server_of(
    path: Path, drafts: Path, watch: Watch, services: Sequence[AddService]
) -> SocketServer:
    """Return a server of *services* at *path*, where no stale socket is left."""
    prepare(path, drafts)

    def build() -> aio.Server:
        server = aio.server(
            interceptors=[StatusInterceptor(watch.metrics)], maximum_concurrent_rpcs=MOST_CALLS
        )
        for add in services:
            add(server)
        return server

    return SocketServer(path, drafts, build)


@asynccontextmanager
async def background(works: Sequence[Coroutine[Any, Any, object]]) -> AsyncIterator[None]:
    """Run *works* for the length of a block; one that fails ends the block.

    Raises what was raised first, in the block or in one of them, and logs the rest.
    """
    try:
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(work) for work in works]
            try:
                yield
            finally:
                for task in running:
                    task.cancel()
    except ExceptionGroup as group:
        first, *rest = group.exceptions
        for error in rest:
            log.error("failed as well", exc_info=error)
        raise first from first.__cause__


async def serve(servers: Sequence[SocketServer], health: Health, until: Awaitable[object]) -> None:
    """Serve from the first to the last, and stop in the other order when *until* has come."""
    async with background([beat(health), *(server.watch() for server in servers)]):
        try:
            for server in servers:
                await server.start()
            health.set_ready(True)
            await until
            log.info("stopping")
        finally:
            health.set_ready(False)
            for server in reversed(servers):
                await server.stop(GRACE_SECONDS)


async def beat(health: Health) -> None:
    """Show, for ever, that the event loop turns."""
    while True:
        health.beat()
        await asyncio.sleep(BEAT_SECONDS)
