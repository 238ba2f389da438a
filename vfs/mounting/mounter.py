"""A supervisor of mounts that its attendant makes: it has no privileges, and starts no keeper.

It ends only when told to, unmounts nothing, and leaves only when somebody who stays holds every
mount as well: until then requests wait, and no reader sees an error.
"""

from __future__ import annotations

import logging
import math
import os
import socket
import sys
import time
from dataclasses import replace

import trio

from cachesvc.logs import log_to_stderr
from vfs.errors import MountError
from vfs.mounting import wire
from vfs.mounting.attending import Attendance
from vfs.mounting.daemon import SUPERVISOR, lock
from vfs.mounting.inquiry import Inquiries
from vfs.mounting.keeping import HeldMount
from vfs.mounting.link import Link
from vfs.mounting.process import end_with, is_alive, pid_namespace
from vfs.mounting.record import MountRecord
from vfs.mounting.role import mounter_cache
from vfs.mounting.served import LOOK_SECONDS, RETURN_SECONDS, ServedMount
from vfs.mounting.spec import MountSpec
from vfs.mounting.state import all_states, forget_state, recorded_keys
from vfs.mounting.supervisor import Supervisor, supervise
from vfs.mounting.wire import Message

log = logging.getLogger(__name__)

TIDY_SECONDS = 10.0


class Mounter(Supervisor):
    """All mounts of a link directory, together with an attendant."""

    def __init__(self, listener: socket.socket, lock: int) -> None:
        """Answer at *listener* for as long as *lock* is held."""
        super().__init__(listener, lock)
        self._cache = mounter_cache()
        self._gathering_ends = time.monotonic() + RETURN_SECONDS
        self._attendance = Attendance(self._mounts, self._take_offer, self._note_change)
        self._handlers |= {
            "attend": self._attend,
            "resolve": Inquiries(self._zygote.get).resolve,
            "refresh": self._refresh,
            # Its processes are replaced with their container.
            "upgrade": self._reject,
        }

    def _patience_seconds(self) -> float:
        """Go when told to, as soon as nobody loses anything by it."""
        may_leave = not self._mounts or self._attendance.has_holder
        return 0 if self._stopping and may_leave else math.inf

    async def _stop(self) -> None:
        log.info("told to end; waiting for somebody to hold %d mounts", len(self._mounts))

    async def _attend(self, link: Link, message: Message) -> None:
        """Be attended to, once all that live of a former mounter's workers have called."""
        message.close()
        with trio.move_on_after(max(0.0, self._gathering_ends - time.monotonic())):
            while self._somebody_is_missing():
                with trio.move_on_after(LOOK_SECONDS):
                    await self._changed.wait()
        self._nursery.start_soon(self._tidy_up)
        await self._attendance.converse(link)

    async def _tidy_up(self) -> None:
        """Remove what is recorded of mounts that nobody has, when all who may have one have called.

        They were taken off while there was no mounter.
        """
        await trio.sleep(TIDY_SECONDS)
        if self._attendance.has_holder:
            for key in recorded_keys() - self._mounts.keys():
                forget_state(key)

    def _somebody_is_missing(self) -> bool:
        return any(
            state.key not in self._mounts and any(map(is_alive, state.workers_in(pid_namespace())))
            for state in all_states()
        )

    async def _mount(self, link: Link, message: Message) -> None:
        """Serve a mount, also in the place of one of its name that has another connection."""
        record = MountRecord.from_json(message.fields["record"])
        (connection,) = message.descriptors
        if self._attendance.answers_renewal(record, connection):
            link.send("mounted")
            return
        await self._make_room(record)
        await super()._mount(link, message)

    async def _take_offer(self, message: Message) -> None:
        """Serve what the attendant holds, on the connection that it brings."""
        record = MountRecord.from_json(message.fields["record"])
        (connection,) = message.descriptors
        if not self._attendance.answers_renewal(record, connection):
            await self._make_room(record)
            self._adopted(record, message, is_new=False)

    async def _make_room(self, record: MountRecord) -> None:
        """Give up what has this name unless it has this connection, and it lives."""
        while (known := self._mounts.get(record.key)) is not None and not (
            known.is_mounted() and known.mount.record.connection == record.connection
        ):
            known.give_up()
            await known.ended.wait()

    async def _refresh(self, link: Link, message: Message) -> None:
        """Let a mount go on with other credentials."""
        message.close()
        spec = MountSpec.from_json(message.fields["spec"])
        answer = Message("refreshed")
        try:
            served = self._mounts.get(message.fields["key"])
            if served is None:
                raise MountError(f"{spec.mountpoint} is not served here: publish the volume anew")
            served.refresh(spec)
        except MountError as error:
            answer = wire.failure(error)
        link.send(answer.kind, **answer.fields)

    def _served(self, mount: HeldMount) -> ServedMount:
        """Serve by the node's cache as it is now, whatever it was when the mount was made."""
        spec = replace(mount.record.spec, cache=self._cache)
        held = replace(mount, record=replace(mount.record, spec=spec))
        return ServedMount(held, self._zygote.get, self._keeping.hold, self._attendance.renewed)

    async def _see_through(self, served: ServedMount, *, is_new: bool) -> None:
        await super()._see_through(served, is_new=is_new)
        if served.error is None and not served.is_given_up:
            self._attendance.tell_gone(served.mount.record.key)


def main() -> int:
    """Be a mounter's supervisor until told to end, or until the nanny that started it does."""
    end_with(int(sys.argv[1]))
    log_to_stderr("supervisor")
    held = lock(SUPERVISOR)
    if held is None:
        log.error("another mounter serves %s", SUPERVISOR.socket.parent)
        return 1
    return supervise(Mounter(wire.listen(SUPERVISOR.socket), held), log_start)


def log_start() -> None:
    """Write down that attendants may come."""
    log.info("serving mounts at %s as user %d", SUPERVISOR.socket, os.geteuid())


if __name__ == "__main__":
    sys.exit(main())
