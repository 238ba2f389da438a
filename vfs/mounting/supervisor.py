"""The process that knows all mounts of a user and keeps workers serving them.

It reads no data and answers no request, so that there is little it could die of; and when it dies,
the workers serve on, and the next one learns everything from the keeper and from them.
"""

from __future__ import annotations

import gc
import logging
import math
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from functools import partial

import trio

from cachesvc.detached import detach, tell
from cachesvc.errors import HeadraceError, first_error
from cachesvc.logs import log_to_stderr
from vfs.errors import MountError
from vfs.mounting import wire
from vfs.mounting.crew import CrewMember, WorkerFailedError
from vfs.mounting.daemon import (
    BUSY,
    FIRST_CALL_SECONDS,
    READY,
    SUPERVISOR,
    idle_seconds,
    lock,
)
from vfs.mounting.forking import ForkedZygote, WarmZygote, Zygote, fork_zygote
from vfs.mounting.keeping import HeldMount, Keeping, fork_keeper
from vfs.mounting.link import Link
from vfs.mounting.mount import unmount
from vfs.mounting.prefetchorder import order_prefetch
from vfs.mounting.record import MountRecord
from vfs.mounting.served import ServedMount
from vfs.mounting.state import forget_state
from vfs.mounting.successor import TAKE_OVER, await_predecessor, prepare_successor
from vfs.mounting.switching import catch_up, switch_to
from vfs.mounting.wire import Message, WireError

log = logging.getLogger(__name__)

Handler = Callable[[Link, Message], Awaitable[None]]


class Supervisor:
    """All mounts of a runtime directory. Owns their descriptors."""

    def __init__(
        self, listener: socket.socket, lock: int, zygote: ForkedZygote | None = None
    ) -> None:
        """Answer at *listener* for as long as *lock* is held; a successor gets both.

        The first workers are forked from *zygote*, if there is one already.
        """
        listener.setblocking(False)
        self._listener = listener
        self._lock = lock
        self._mounts: dict[str, ServedMount] = {}
        self._keeping = Keeping()
        self._zygote = WarmZygote(zygote)
        self._conversation_count = 0
        self._was_needed = False
        self._stopping = False
        self._changed = trio.Event()
        self._handlers: dict[str, Handler] = {
            "mount": self._mount,
            "register": self._register,
            "await_end": self._await_end,
            "upgrade": self._upgrade,
            "checkout": self._checkout,
            "prefetch": partial(order_prefetch, self._mounts, self._zygote.get),
        }

    async def run(self, ready: Callable[[], None]) -> None:
        """Adopt what the keeper holds, call *ready*, return when nothing is mounted for a while."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self._zygote.run)
            for mount in await self._keeping.start():
                self._take_on(mount, is_new=False)
                nursery.start_soon(catch_up, mount)
            nursery.start_soon(self._keeping.run)
            await nursery.start(self._heed_signals)
            nursery.start_soon(self._welcome)
            ready()
            await self._until_idle()
            # From here on nobody gets in: who comes now finds no answer and starts another.
            SUPERVISOR.socket.unlink(missing_ok=True)
            trio.lowlevel.notify_closing(self._listener)
            self._listener.close()
            nursery.cancel_scope.cancel()
        self._keeping.close()

    def _note_change(self) -> None:
        self._changed.set()

    async def _until_idle(self) -> None:
        while True:
            self._changed = trio.Event()
            with trio.move_on_after(self._patience_seconds()) as scope:
                await self._changed.wait()
            if scope.cancelled_caught:
                return

    def _patience_seconds(self) -> float:
        if self._mounts or self._conversation_count:
            return math.inf
        if self._stopping:
            return 0
        return idle_seconds() if self._was_needed else max(FIRST_CALL_SECONDS, idle_seconds())

    async def _welcome(self) -> None:
        while True:
            try:
                await trio.lowlevel.wait_readable(self._listener)
                caller, _ = self._listener.accept()
            except trio.ClosedResourceError:
                return
            except BlockingIOError:
                continue
            self._nursery.start_soon(self._converse, Link(caller))

    async def _converse(self, link: Link) -> None:
        self._conversation_count += 1
        try:
            message = await link.receive()
            if message is not None:
                self._was_needed = True
                await self._handlers.get(message.kind, self._reject)(link, message)
        except* (KeyError, ValueError, TypeError, WireError):
            log.exception("a caller was not understood")
        finally:
            link.close()
            self._conversation_count -= 1
            self._note_change()

    async def _reject(self, link: Link, message: Message) -> None:
        message.close()
        link.send("failed", error=f"this supervisor does not know how to {message.kind}")

    async def _mount(self, link: Link, message: Message) -> None:
        """Serve a mount that somebody made; answer when it is served, or why it is not."""
        record = MountRecord.from_json(message.fields["record"])
        served = self._adopted(record, message, is_new=True)
        await served.settled.wait()
        answer = failure_of(served.error) if served.error else Message("mounted")
        link.send(answer.kind, **answer.fields)

    async def _register(self, link: Link, message: Message) -> None:
        """Take on a worker that has lost its supervisor."""
        record = MountRecord.from_json(message.fields["record"])
        served = self._adopted(record, message, is_new=False)
        await served.adopt(CrewMember(message.fields["pid"], link, record))

    async def _await_end(self, link: Link, message: Message) -> None:
        """Answer when a mount is gone, processes and all."""
        served = self._mounts.get(message.fields["key"])
        if served is not None:
            await served.ended.wait()
        link.send("ended")

    async def _upgrade(self, link: Link, message: Message) -> None:
        """Let the code that an interpreter finds take over mounts, or all of them and this too."""
        python, key = message.fields["python"], message.fields["key"]
        chosen = [self._mounts[key]] if key else list(self._mounts.values())
        try:
            await self._renew(chosen, python)
            if key is None:
                await prepare_successor(python, self._lock, self._listener.fileno())
        except HeadraceError as error:
            link.send("failed", error=str(error))
        else:
            link.send("upgraded", count=len(chosen))
            if key is None:
                self._nursery.cancel_scope.cancel()

    async def _checkout(self, link: Link, message: Message) -> None:
        """Have a mount show another snapshot; answer when the kernel knows."""
        served = self._mounts[message.fields["key"]]
        try:
            switched = await switch_to(served.mount, message.fields["name"])
        except MountError as error:
            link.send("failed", error=str(error))
        else:
            link.send("switched", **switched)

    async def _renew(self, chosen: list[ServedMount], python: str) -> None:
        zygote = await Zygote.start(python)
        try:
            for served in chosen:
                await served.renew(zygote)
        except MountError:
            zygote.close()
            await zygote.ended()
            raise
        self._zygote.replace(zygote, python)

    def _adopted(self, record: MountRecord, message: Message, *, is_new: bool) -> ServedMount:
        """Return the mount that *message* is about, which may be new here."""
        (connection,) = message.descriptors
        if (known := self._mounts.get(record.key)) is not None:
            os.close(connection)
            return known
        mount = HeldMount(record, connection)
        self._keeping.hold(mount)
        return self._take_on(mount, is_new=is_new)

    def _take_on(self, mount: HeldMount, *, is_new: bool) -> ServedMount:
        served = self._served(mount)
        self._mounts[mount.record.key] = served
        self._was_needed = True
        self._note_change()
        self._nursery.start_soon(partial(self._see_through, served, is_new=is_new))
        return served

    def _served(self, mount: HeldMount) -> ServedMount:
        return ServedMount(mount, self._zygote.get, self._keeping.hold)

    async def _see_through(self, served: ServedMount, *, is_new: bool) -> None:
        """Serve a mount to its end and forget it. When cancelled it stays for others to take on."""
        key = served.mount.record.key
        try:
            await served.run(is_new=is_new)
        except* HeadraceError as group:
            served.error = first_headrace_error(group)
        served.settled.set()
        self._keeping.drop(key)
        os.close(served.mount.connection)
        forget_state(key)
        del self._mounts[key]
        served.ended.set()
        self._note_change()

    async def _heed_signals(
        self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            task_status.started()
            async for _ in signals:
                self._stopping = True
                await self._stop()
                self._note_change()

    async def _stop(self) -> None:
        """Take everything off: who is inside may finish, then this ends."""
        for served in list(self._mounts.values()):
            await trio.to_thread.run_sync(_detach, served)


def _detach(served: ServedMount) -> None:
    try:
        unmount(served.mount.record.spec.mountpoint, lazy=True)
    except MountError as error:
        log.info("%s", error)


def first_headrace_error(group: BaseExceptionGroup[HeadraceError]) -> HeadraceError:
    """Return one of the errors that ended a mount: it is enough to tell."""
    error = first_error(group)
    assert isinstance(error, HeadraceError)
    return error


def failure_of(error: HeadraceError) -> Message:
    """Return what an asker is told of *error*, by the name that a worker gave it."""
    return wire.failure(error, error.cause if isinstance(error, WorkerFailedError) else "")


def supervise(supervisor: Supervisor, ready: Callable[[], None]) -> int:
    """Supervise until idle or succeeded; return the exit code."""
    code = 0
    try:
        trio.run(supervisor.run, ready)
    except* HeadraceError as group:
        log.error("%s", first_error(group))
        code = 1
    return code


def main() -> int:
    """Supervise, in the background when told whom to say that it is ready."""
    log_to_stderr("supervisor")
    match sys.argv[1:]:
        case [word, held, listener] if word == TAKE_OVER:
            await_predecessor()
            inherited = socket.socket(fileno=int(listener))
            wire.claim(inherited)
            return supervise(Supervisor(inherited, int(held)), log_takeover)
        case words:
            return _start(int(words[0]) if words else None)


def _start(starter: int | None) -> int:
    if starter is not None:
        detach()
    held = lock(SUPERVISOR)
    if held is None:
        tell(starter, BUSY)
        return 1
    gc.freeze()  # so that collections do not write to the pages that are shared from here on
    zygote = fork_zygote()  # before the keeper, which takes 10 ms: the first worker waits for it
    fork_keeper()
    supervisor = Supervisor(wire.listen(SUPERVISOR.socket), held, zygote)
    return supervise(supervisor, lambda: tell(starter, READY))


def log_takeover() -> None:
    """Write down that another supervisor has taken over."""
    log.info("took over")


if __name__ == "__main__":
    sys.exit(main())
