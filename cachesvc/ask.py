"""One administrative question to the service, and its answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio

from cachesvc.errors import CacheServiceError
from cachesvc.framesocket import FrameSocket
from cachesvc.unixsocket import connect
from cachesvc.wire import (
    MAX_ANSWER_SIZE,
    PROTOCOL_VERSION,
    Ask,
    Failed,
    Hello,
    Told,
    Welcome,
    decode,
    encode,
    error_of,
)

_ANSWER_SECONDS = 3600.0
"""Verifying a large cache takes long; the connection ends at once when the service dies."""


async def ask_service(directory: Path, topic: str) -> dict[str, Any]:
    """Return the service's answer; raises CacheServiceError when none runs."""
    try:
        frames = FrameSocket(connect(directory / "socket"), MAX_ANSWER_SIZE, _ANSWER_SECONDS)
    except OSError as error:
        raise CacheServiceError(f"no cache service answers on {directory}: {error}") from error
    try:
        frames.send_nowait(encode(Hello(PROTOCOL_VERSION)) + encode(Ask(0, topic)))
        with anyio.fail_after(_ANSWER_SECONDS):
            return await _told(frames)
    finally:
        frames.close()


async def _told(frames: FrameSocket) -> dict[str, Any]:
    """Wait for the answer."""
    while (bodies := await frames.receive()) is not None:
        for message in map(decode, bodies):
            match message:
                case Told():
                    return message.answer
                case Failed():
                    raise error_of(message)
                case Welcome():
                    check_version(message)
                case _:
                    raise CacheServiceError(f"the service sent a {type(message).__name__} message")
    raise CacheServiceError("the cache service ended before it answered")


def check_version(welcome: Welcome) -> None:
    """Refuse a service that speaks another version of the protocol."""
    if welcome.version != PROTOCOL_VERSION:
        raise CacheServiceError(
            f"the cache service (pid {welcome.pid}) speaks version {welcome.version} of the "
            f"protocol, this is version {PROTOCOL_VERSION}; stop it with `headrace cache stop`"
        )
