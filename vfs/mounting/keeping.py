"""The supervisor's end of the keeper: what is held here is held there too, whoever keeps."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import trio

from cachesvc.detached import open_log, read_word
from vfs.errors import MountError
from vfs.mounting import wire
from vfs.mounting.daemon import FIRST_CALL_SECONDS, KEEPER, daemon_pid, ensure_daemon
from vfs.mounting.link import Link
from vfs.mounting.offshoot import fork_module
from vfs.mounting.record import MountRecord
from vfs.mounting.role import has_external_keeper

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
ANSWER_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class HeldMount:
    """A mount and its connection's descriptor."""

    record: MountRecord
    connection: int


def fork_keeper() -> None:
    """Fork a keeper where none answers; why it did not start shows when it is looked for.

    The supervisor waits for it, and 50 ms less than for one that imports everything itself.
    """
    if has_external_keeper() or daemon_pid(KEEPER) is not None:
        return
    reader, writer = os.pipe()
    with open_log(KEEPER.log) as output, open(os.devnull, "rb") as nothing:
        streams = (nothing.fileno(), output.fileno(), output.fileno())
        starting = fork_module(KEEPER.module, str(writer), streams=streams, kept=(writer,))
    os.close(writer)
    with os.fdopen(reader) as word:
        read_word(word, time.monotonic() + FIRST_CALL_SECONDS)
    starting.reap()


class Keeping:
    """Tells the keeper what to hold. Owns no mount's descriptor but those that `start` returns."""

    def __init__(self) -> None:
        """Know of no mount yet."""
        self._held: dict[str, HeldMount] = {}
        self._link: Link | None = None

    async def start(self) -> list[HeldMount]:
        """Find or start the keeper; return what it holds, each with a descriptor of our own.

        One that somebody else has to start, or that does not answer, is gone on without.
        """
        self._link = await self._connect()
        found: list[HeldMount] = []
        if self._link is None:
            return found
        with trio.move_on_after(ANSWER_SECONDS) as scope:
            self._link.send("list")
            while (message := await self._link.receive()) is not None and message.kind == "kept":
                (connection,) = message.descriptors
                record = MountRecord.from_json(message.fields["record"])
                found.append(HeldMount(record, connection))
        if scope.cancelled_caught:
            log.error("the keeper does not say what it holds")
            self._link.close()
        self._held = {mount.record.key: mount for mount in found}
        return found

    async def run(self) -> None:
        """Be the one whom the keeper watches, a new keeper when it dies, until cancelled."""
        while True:
            if self._link is not None:
                self._link.send("watch", python=sys.executable)
                await self._link.receive()
                log.warning("the keeper is gone; going on with another")
                self._link.close()
            self._link = None
            try:
                self._link = await self._connect()
            except MountError as error:
                log.error("%s", error)
            if self._link is None:
                await trio.sleep(RETRY_SECONDS)
                continue
            await self._put_all(self._link)

    async def _put_all(self, link: Link) -> None:
        for key in list(self._held):
            if (mount := self._held.get(key)) is not None:
                await link.deliver("put", (mount.connection,), **_put(mount))

    def hold(self, mount: HeldMount) -> None:
        """Have a mount held from now on; its descriptor must stay open until `drop`."""
        self._held[mount.record.key] = mount
        self._tell("put", (mount.connection,), **_put(mount))

    def drop(self, key: str) -> None:
        """Have a mount held no longer."""
        self._held.pop(key, None)
        self._tell("drop", key=key)

    def _tell(self, kind: str, descriptors: Sequence[int] = (), **fields: object) -> None:
        """Tell the keeper; one that has left too much unread is told everything anew by `run`."""
        if self._link is not None and not self._link.send(kind, descriptors, **fields):
            self._link.close()

    def close(self) -> None:
        """Leave the keeper, which ends when it holds nothing."""
        if self._link is not None:
            self._link.close()

    @staticmethod
    async def _connect() -> Link | None:
        """Return a link to the keeper; None while one that is not ours to start is not there."""
        while True:
            with suppress(OSError):
                return Link(wire.connect(KEEPER.socket))
            if has_external_keeper():
                return None
            await trio.to_thread.run_sync(ensure_daemon, KEEPER)


def _put(mount: HeldMount) -> dict[str, str]:
    return {"key": mount.record.key, "record": mount.record.to_json()}
