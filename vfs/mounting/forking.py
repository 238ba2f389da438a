"""The supervisor's end of a zygote: has workers forked."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import trio

from vfs.errors import MountError
from vfs.mounting import wire
from vfs.mounting.daemon import daemon_environment
from vfs.mounting.link import Link
from vfs.mounting.offshoot import Offshoot, fork_module

log = logging.getLogger(__name__)

ZYGOTE_MODULE = "vfs.mounting.zygote"
ZYGOTE_SECONDS = 30.0
"""How long a fresh interpreter may take to import everything."""
RETRY_SECONDS = 1.0


class ZygoteFailedError(MountError):
    """No process that forks workers starts."""


class ZygoteGoneError(MountError):
    """The process that forks workers died or does not answer; another follows."""


@dataclass(frozen=True, slots=True)
class ForkedZygote:
    """A zygote on its way, forked from a supervisor that had nothing to do yet."""

    process: Offshoot
    orders: socket.socket


def fork_zygote() -> ForkedZygote:
    """Fork one: what it shares with the supervisor it need not import, which takes 0.15 s."""
    ours, theirs = wire.pair()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    with theirs:
        process = fork_module(ZYGOTE_MODULE, streams=(theirs.fileno(), nowhere, 2))
    os.close(nowhere)
    return ForkedZygote(process, ours)


class Zygote:
    """One zygote, which ends when this does. `ended` must be awaited by somebody."""

    def __init__(self, process: trio.Process | Offshoot, link: Link) -> None:
        """Talk to *process* over *link*."""
        self._process = process
        self._link = link
        self._lock = trio.Lock()
        self.is_gone = False

    @classmethod
    async def start(cls, python: str = sys.executable) -> Zygote:
        """Start one in a fresh interpreter and return it when it is warm."""
        ours, theirs = wire.pair()
        link = Link(ours)
        with theirs:
            try:
                process = await trio.lowlevel.open_process(
                    [python, "-P", "-m", ZYGOTE_MODULE],
                    env=daemon_environment(),
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    cwd="/",
                    start_new_session=True,
                )
            except OSError as error:
                link.close()
                raise ZygoteFailedError(f"{python} does not run: {error.strerror}") from error
        return await cls._warm(process, link, python)

    @classmethod
    async def adopt(cls, forked: ForkedZygote) -> Zygote:
        """Return one that was forked when it is warm."""
        return await cls._warm(forked.process, Link(forked.orders), sys.executable)

    @classmethod
    async def _warm(cls, process: trio.Process | Offshoot, link: Link, python: str) -> Zygote:
        with trio.move_on_after(ZYGOTE_SECONDS):
            if await link.receive() is not None:
                return cls(process, link)
        link.close()
        process.kill()
        code = await process.wait()
        raise ZygoteFailedError(f"{python} cannot load this program (exit {code})")

    async def fork(self, kind: str, descriptors: Sequence[int], **order: object) -> int:
        """Have a child forked that does as ordered with the descriptors; return its pid.

        Raises ZygoteGoneError.
        """
        async with self._lock:
            with trio.move_on_after(ZYGOTE_SECONDS):
                if self._link.send(kind, descriptors, **order):
                    answer = await self._link.receive()
                    if answer is not None:
                        pid: int = answer.fields["pid"]
                        return pid
        self.is_gone = True
        self._process.kill()
        raise ZygoteGoneError("the process that forks workers is gone")

    async def ended(self) -> None:
        """Wait until its process is gone, and take note."""
        code = await self._process.wait()
        self._link.close()
        log.info("zygote %d ended: exit %s", self._process.pid, code)

    def close(self) -> None:
        """Let it end; workers that it forked live on."""
        self._link.close()


class WarmZygote:
    """Keeps one zygote warm: a new one follows when it dies."""

    def __init__(self, forked: ForkedZygote | None = None) -> None:
        """Begin with the one that was *forked*, if any; start none yet."""
        self._forked = forked
        self._current: Zygote | None = None
        self._python = sys.executable
        self._changed = trio.Event()

    async def run(self) -> None:
        """Keep one until cancelled."""
        while True:
            try:
                zygote = self._current or await self._next()
            except ZygoteFailedError as error:
                log.error("%s", error)
                await trio.sleep(RETRY_SECONDS)
                continue
            if self._current is None:
                self._set(zygote)
            elif self._current is not zygote:
                # Another took its place while it started.
                zygote.close()
            await zygote.ended()
            if self._current is zygote:
                self._current = None

    async def _next(self) -> Zygote:
        forked, self._forked = self._forked, None
        return await (Zygote.adopt(forked) if forked else Zygote.start(self._python))

    async def get(self) -> Zygote:
        """Return the zygote, waiting for a warm one. Raises ZygoteFailedError."""
        with trio.move_on_after(ZYGOTE_SECONDS):
            while self._current is None or self._current.is_gone:
                await self._changed.wait()
            return self._current
        raise ZygoteFailedError("no process that forks workers starts; see the supervisor's log")

    def replace(self, zygote: Zygote, python: str) -> None:
        """Fork from *zygote* from now on, and from such as *python* starts."""
        self._python = python
        old, self._current = self._current, None
        self._set(zygote)
        if old is not None:
            old.close()

    def _set(self, zygote: Zygote) -> None:
        self._current = zygote
        self._changed.set()
        self._changed = trio.Event()
