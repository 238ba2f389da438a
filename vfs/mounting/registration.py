"""A worker's standing with the supervisor: whoever that is at the time.

The worker tells what it serves and hands over a copy of the connection, so that a supervisor that
knows nothing learns it here. It goes on serving while there is none.
"""

from __future__ import annotations

import itertools
import logging
import os
import random
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import trio

from cachesvc.errors import HeadraceError
from vfs.mounting import wire
from vfs.mounting.daemon import SUPERVISOR, ensure_daemon
from vfs.mounting.link import Link
from vfs.mounting.record import MountRecord
from vfs.mounting.role import is_mounter

log = logging.getLogger(__name__)

LONGEST_DELAY_SECONDS = 0.3
"""Workers of many mounts shall not all come at once."""
PATIENT_ATTEMPTS = 4
"""So often a worker looks for a supervisor that somebody else has started."""
LONGEST_BACKOFF_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Duties:
    """What the supervisor may tell a worker to do."""

    probe: Callable[[], Awaitable[None]]
    retire: Callable[[], None]
    refresh: Callable[[MountRecord], None]
    tell: Callable[[], Mapping[str, int]]
    """What the worker has counted, told with each sign of life."""


class Registration:
    """Keeps a worker known to the supervisor."""

    def __init__(
        self, record: MountRecord, connection: int, born_with: socket.socket, duties: Duties
    ) -> None:
        """Register for *record*, first over the socket that the worker was *born_with*."""
        self._record = record
        self._connection = connection
        self._link = Link(born_with)
        self._duties = duties
        self._retired = False

    async def run(self) -> None:
        """Be registered until cancelled or retired."""
        while True:
            try:
                self._register(self._link)
                await self._obey(self._link)
            finally:
                self._link.close()
            if self._retired:
                return
            log.warning("the supervisor is gone; serving on")
            self._link = Link(await self._find_supervisor())

    def say_farewell(self) -> None:
        """Tell that the worker ends because its work is done."""
        self._link.send("farewell")

    def _register(self, link: Link) -> None:
        link.send(
            "register",
            (self._connection,),
            pid=os.getpid(),
            key=self._record.key,
            record=self._record.to_json(),
        )

    async def _obey(self, link: Link) -> None:
        while (message := await link.receive()) is not None:
            match message.kind:
                case "ping":
                    link.send("pong", tally=self._duties.tell())
                case "probe":
                    await self._answer_probe(link)
                case "retire":
                    self._retired = True
                    self._duties.retire()
                case "record":
                    self._record = MountRecord.from_json(message.fields["record"])
                    self._duties.refresh(self._record)
                case kind:
                    log.error("nobody taught me to %s", kind)

    async def _answer_probe(self, link: Link) -> None:
        try:
            await self._duties.probe()
        except HeadraceError as error:
            link.send("probed", error=str(error))
        else:
            link.send("probed")

    async def _find_supervisor(self) -> socket.socket:
        delay = LONGEST_DELAY_SECONDS
        for attempt in itertools.count(1):
            await trio.sleep(random.uniform(0, delay))
            try:
                if attempt > PATIENT_ATTEMPTS and not is_mounter():
                    delay = min(2 * delay, LONGEST_BACKOFF_SECONDS)
                    await trio.to_thread.run_sync(ensure_daemon, SUPERVISOR, abandon_on_cancel=True)
                return wire.connect(SUPERVISOR.socket)
            except (HeadraceError, OSError) as error:
                log.info("no supervisor yet: %s", error)
        raise AssertionError("attempts never end")
