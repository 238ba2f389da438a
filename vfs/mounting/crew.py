"""One worker as its supervisor sees it: a connection that breaks when the worker dies."""

from __future__ import annotations

import os
import signal
from contextlib import suppress

import trio

from vfs.errors import MountError
from vfs.mounting import wire
from vfs.mounting.forking import Zygote
from vfs.mounting.keeping import HeldMount
from vfs.mounting.link import Link
from vfs.mounting.record import MountRecord
from vfs.serving.tally import Tally

START_SECONDS = 60.0
PROBE_SECONDS = 30.0


class WorkerFailedError(MountError):
    """A worker could not serve; `cause` is the name of what it raised."""

    def __init__(self, message: str, cause: str = "") -> None:
        """Say *message*, a worker's own words."""
        super().__init__(message)
        self.cause = cause or type(self).__name__


class CrewMember:
    """A worker that serves. Owns the connection to it."""

    def __init__(self, pid: int, link: Link, record: MountRecord) -> None:
        """Know the worker *pid* by *link*, on which it has registered for *record*."""
        self.pid = pid
        self.tally = Tally()
        """What it has counted, as last heard."""
        self.unanswered = 0
        """Pings in a row without a sign of life; a pause of our own adds none."""
        self.owes_nothing = False
        """No request that it took waits for an answer."""
        self.is_retired = False
        self._pinged = False
        self._link = link
        self._record = record
        self._probed = trio.Event()
        self._probe_error: str | None = None

    async def listen(self) -> None:
        """Take note of what it says until it is gone."""
        while (message := await self._link.receive()) is not None:
            self.unanswered = 0
            if message.kind == "probed":
                self._probe_error = message.fields.get("error")
                self._probed.set()
            elif message.kind == "farewell":
                self.owes_nothing = True
            elif message.kind == "pong":
                self.tally = Tally.from_fields(message.fields.get("tally", {}))
        self._link.close()

    @property
    def is_responsive(self) -> bool:
        """Say whether it has answered the last ping."""
        return self._pinged and self.unanswered == 0

    @property
    def is_alive(self) -> bool:
        """Say whether it owes no more than the answer that may be on its way."""
        return self.unanswered <= 1

    def follow(self, record: MountRecord) -> None:
        """Have it serve by *record*, which may have other credentials than it knows."""
        if record != self._record:
            self._record = record
            self._link.send("record", record=record.to_json())

    def ping(self) -> None:
        """Ask for a sign of life."""
        self.unanswered += 1
        self._pinged = True
        self._link.send("ping")

    async def probe(self) -> None:
        """Return once it has looked at the mount's root. Raises WorkerFailedError."""
        self._link.send("probe")
        with trio.move_on_after(PROBE_SECONDS) as scope:
            await self._probed.wait()
        if scope.cancelled_caught:
            raise WorkerFailedError(f"a new worker did not answer within {PROBE_SECONDS:g} s")
        if self._probe_error is not None:
            raise WorkerFailedError(self._probe_error)

    def retire(self) -> None:
        """Have it finish what it has taken on, and end."""
        self.is_retired = True
        self._link.send("retire")

    def kill(self) -> None:
        """End it at once, stopped or not."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self._link.close()


async def hire(zygote: Zygote, mount: HeldMount) -> CrewMember:
    """Start a worker for *mount* and return it when it serves.

    Raises WorkerFailedError with its own words, or ZygoteGoneError.
    """
    ours, theirs = wire.pair()
    link = Link(ours)
    try:
        with theirs:
            descriptors = (mount.connection, theirs.fileno())
            pid = await zygote.fork("fork", descriptors, record=mount.record.to_json())
    except BaseException:
        link.close()
        raise
    worker = CrewMember(pid, link, mount.record)
    try:
        with trio.fail_after(START_SECONDS):
            await _await_registration(link, mount)
    except trio.TooSlowError:
        worker.kill()
        raise WorkerFailedError(
            f"a worker of {mount.record.spec.mountpoint} did not start within {START_SECONDS:g} s"
        ) from None
    except BaseException:
        worker.kill()
        raise
    return worker


async def _await_registration(link: Link, mount: HeldMount) -> None:
    message = await link.receive()
    if message is None:
        raise WorkerFailedError(
            f"a worker of {mount.record.spec.mountpoint} died before it could serve"
        )
    message.close()
    if message.kind != "register":
        raise WorkerFailedError(message.fields["error"], message.fields.get("name", ""))
