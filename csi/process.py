"""What each process of the driver has: logging, signals, work in the background, servers."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any

from csi.health import Health
from csi.redaction import RedactingFormatter
from csi.server import SocketServer

log = logging.getLogger(__name__)

GRACE_SECONDS = 10.0
"""For calls under way when the process is told to stop."""
BEAT_SECONDS = 1.0
LOG_FORMAT = "%(asctime)s %(levelname)s csi[%(process)d] %(name)s: %(message)s"


def log_to_stderr(level: str) -> None:
    """Let this process log, without secrets: the whole set-up, to be called once."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(RedactingFormatter(LOG_FORMAT))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def stop_on_signals() -> asyncio.Event:
    """Return what is set when the process is asked to end."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


@asynccontextmanager
async def background(works: Sequence[Coroutine[Any, Any, object]]) -> AsyncIterator[None]:
    """Run *works* for the length of a block; one that fails ends the block, and the process."""
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(work) for work in works]
        try:
            yield
        finally:
            for task in running:
                task.cancel()


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
