"""The supervisor's end of the keeper: what is held here is held there too, whoever keeps."""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass

import trio

from vfs.errors import MountError
from vfs.mounting import wire
from vfs.mounting.daemon import KEEPER, ensure_daemon
from vfs.mounting.link import Link
from vfs.mounting.record import MountRecord

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class HeldMount:
    """A mount and its connection's descriptor."""

    record: MountRecord
    connection: int


class Keeping:
    """Tells the keeper what to hold. Owns no mount's descriptor but those that `start` returns."""

    def __init__(self) -> None:
        """Know of no mount yet."""
        self._held: dict[str, HeldMount] = {}
        self._link: Link | None = None

    async def start(self) -> list[HeldMount]:
        """Find or start the keeper; return what it holds, each with a descriptor of our own."""
        self._link = await self._connect()
        found = []
        self._link.send("list")
        while (message := await self._link.receive()) is not None and message.kind == "kept":
            (connection,) = message.descriptors
            record = MountRecord.from_json(message.fields["record"])
            found.append(HeldMount(record, connection))
        self._held = {mount.record.key: mount for mount in found}
        return found

    async def run(self) -> None:
        """Be the one whom the keeper watches, a new keeper when it dies, until cancelled."""
        while True:
            if self._link is not None:
                self._link.send("watch", python=sys.executable)
                await self._link.receive()
                log.warning("the keeper is gone; starting another")
                self._link.close()
            self._link = None
            try:
                self._link = await self._connect()
            except MountError as error:
                log.error("%s", error)
                await trio.sleep(RETRY_SECONDS)
                continue
            for mount in self._held.values():
                self._put(self._link, mount)

    def hold(self, mount: HeldMount) -> None:
        """Have a mount held from now on; its descriptor must stay open until `drop`."""
        self._held[mount.record.key] = mount
        if self._link is not None:
            self._put(self._link, mount)

    def drop(self, key: str) -> None:
        """Have a mount held no longer."""
        self._held.pop(key, None)
        if self._link is not None:
            self._link.send("drop", key=key)

    def close(self) -> None:
        """Leave the keeper, which ends when it holds nothing."""
        if self._link is not None:
            self._link.close()

    @staticmethod
    async def _connect() -> Link:
        while True:
            await trio.to_thread.run_sync(ensure_daemon, KEEPER)
            try:
                return Link(wire.connect(KEEPER.socket))
            except OSError:
                log.info("the keeper ended before it was reached")

    @staticmethod
    def _put(link: Link, mount: HeldMount) -> None:
        record = mount.record
        link.send("put", (mount.connection,), key=record.key, record=record.to_json())
