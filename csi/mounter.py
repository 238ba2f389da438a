"""The driver's end of the mounter: it serves what is mounted here, and asks for new connections.

One long connection on which each tells the other what it holds, so that either may die; and short
ones, one for each question.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Protocol

from csi.errors import CsiError, MounterFailedError, UnavailableError
from csi.link import Link, connect
from vfs.mounting.record import MountRecord
from vfs.mounting.spec import MountSpec
from vfs.mounting.wire import Message

log = logging.getLogger(__name__)

GREETING_SECONDS = 10.0
RESOLVE_SECONDS = 30.0
SERVE_SECONDS = 60.0
FIRST_BACKOFF_SECONDS = 0.1
LONGEST_BACKOFF_SECONDS = 2.0
MOST_RENEWALS = 1000
"""At once; the mounter asks again for what was not made."""


@dataclass(frozen=True, slots=True)
class HeldMount:
    """A source mount and this process's copy of its connection."""

    record: MountRecord
    connection: int


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a volume's words mean now: a mount to make, and how large its dataset is."""

    spec: MountSpec
    file_count: int
    total_bytes: int


@dataclass(frozen=True, slots=True)
class MountStatus:
    """What the mounter last said of one mount; counts are those since it was mounted."""

    alive: bool
    workers: int = 0
    takeovers: int = 0
    renewals: int = 0
    stall_seconds: float = 0.0
    hits: int = 0
    misses: int = 0
    hit_bytes: int = 0
    miss_bytes: int = 0


STATUS_FIELDS = frozenset(field.name for field in fields(MountStatus))


class Holder(Protocol):
    """Who keeps this process's copies of the connections."""

    def held(self) -> list[HeldMount]:
        """Return all that is held."""
        ...

    def adopt(self, mount: HeldMount) -> None:
        """Hold what the mounter holds; the connection is the holder's from now on."""
        ...

    def settle(self) -> None:
        """Take note that both sides know all that the other has."""
        ...

    async def renew(self, key: str) -> HeldMount | None:
        """Give a mount a new connection; None when nobody wants it any more."""
        ...

    async def rebind(self, key: str) -> None:
        """Let everybody who uses a mount see its new connection, which is served now."""
        ...

    def lose(self, key: str) -> None:
        """Take note that the kernel has ended a connection."""
        ...


class Mounter:
    """The mounter as the driver sees it."""

    def __init__(self, socket: Path) -> None:
        """Meet it at *socket*."""
        self._socket = socket
        self._link: Link | None = None
        self.statuses: dict[str, MountStatus] = {}
        """By key, as last heard."""

    @property
    def connected(self) -> bool:
        """Whether it is there and knows what is held here."""
        return self._link is not None

    async def run(self, holder: Holder) -> None:
        """Attend to it for ever, whichever process it is; *holder* has the copies kept here."""
        backoff, told = FIRST_BACKOFF_SECONDS, ""
        while True:
            try:
                with closing(connect(self._socket)) as link:
                    await self._attend(link, holder)
                    backoff, told = FIRST_BACKOFF_SECONDS, ""
            except (CsiError, TimeoutError) as error:
                if str(error) != told:
                    log.warning("%s", error)
                told = str(error)
            except (KeyError, ValueError, TypeError):
                log.exception("the mounter was not understood")
            finally:
                self._link = None
            await asyncio.sleep(backoff)
            backoff = min(2 * backoff, LONGEST_BACKOFF_SECONDS)

    async def leave(self) -> None:
        """Say that this process is about to end, so that it counts as a holder no longer."""
        if self._link is not None:
            await self._link.send("leave")

    async def resolve(self, request: Mapping[str, object]) -> Resolved:
        """Return what *request* means, as the identity in it. Raises MounterFailedError."""
        answer = await self._ask("resolve", "resolved", RESOLVE_SECONDS, request=dict(request))
        return Resolved(
            MountSpec.from_json(answer["spec"]), answer["file_count"], answer["total_bytes"]
        )

    async def serve(self, mount: HeldMount) -> None:
        """Return when *mount* is served. Raises MounterFailedError."""
        record = mount.record.to_json()
        await self._ask("mount", "mounted", SERVE_SECONDS, (mount.connection,), record=record)

    async def refresh(self, key: str, spec: MountSpec) -> None:
        """Have the mount *key* go on with the credentials of *spec*. Raises MounterFailedError."""
        await self._ask("refresh", "refreshed", SERVE_SECONDS, key=key, spec=spec.to_json())

    async def _ask(
        self,
        kind: str,
        wanted: str,
        seconds: float,
        descriptors: tuple[int, ...] = (),
        **fields: object,
    ) -> Mapping[str, Any]:
        with closing(connect(self._socket)) as link:
            try:
                async with asyncio.timeout(seconds):
                    await link.send(kind, descriptors, **fields)
                    answer = await link.receive()
            except TimeoutError:
                raise UnavailableError(f"the mounter did not answer within {seconds:g} s") from None
        if answer is None:
            raise UnavailableError("the mounter went away before it answered; it will be back")
        answer.close()
        if answer.kind != wanted:
            name = answer.fields.get("name", "MountError")
            raise MounterFailedError(name, answer.fields.get("error", f"it said {answer.kind!r}"))
        return answer.fields

    async def _attend(self, link: Link, holder: Holder) -> None:
        """Tell each other all that is held, then do what it says until it is gone."""
        async with asyncio.timeout(GREETING_SECONDS):
            await self._compare(link, holder)
        self._link = link
        holder.settle()
        log.info("attending to the mounter")
        renewals: set[asyncio.Task[None]] = set()
        try:
            while (message := await link.receive()) is not None:
                message.close()
                match message.kind:
                    case "status":
                        self._note(message.fields["mounts"], holder)
                    case "renew" if len(renewals) < MOST_RENEWALS:
                        renewal = asyncio.create_task(
                            self._renew(link, holder, message.fields["key"])
                        )
                        renewals.add(renewal)
                        renewal.add_done_callback(renewals.discard)
                    case "renew":
                        log.error("the mounter asks for too many connections at once")
                    case "gone":
                        self.statuses.pop(message.fields["key"], None)
                        holder.lose(message.fields["key"])
                    case kind:
                        log.error("the mounter said %r, which means nothing here", kind)
            log.warning("the mounter is gone; its mounts wait for another")
        finally:
            await asyncio.gather(*renewals, return_exceptions=True)

    async def _compare(self, link: Link, holder: Holder) -> None:
        await link.send("attend")
        known = set()
        while (message := await link.receive()) is not None and message.kind != "end":
            if message.kind == "kept":
                known.add(message.fields["key"])
                holder.adopt(_held_in(message))
        if message is None:
            raise UnavailableError("the mounter went away while it told what it holds")
        for mount in holder.held():
            if mount.record.key not in known:
                await link.send("offer", (mount.connection,), record=mount.record.to_json())

    @staticmethod
    async def _renew(link: Link, holder: Holder, key: str) -> None:
        try:
            mount = await holder.renew(key)
            if mount is None:
                await link.send("gone", key=key)
                return
            await link.send("renewed", (mount.connection,), record=mount.record.to_json())
            await holder.rebind(key)
        except CsiError as error:
            log.error("mount %s is not made anew: %s", key, error)

    def _note(self, mounts: Mapping[str, Mapping[str, Any]], holder: Holder) -> None:
        """Remember what is said of mounts that are held here, as far as it is understood."""
        for mount in holder.held():
            if (said := mounts.get(mount.record.key)) is not None:
                self.statuses[mount.record.key] = status_of(said)


def status_of(said: Mapping[str, Any]) -> MountStatus:
    """Return what is said of a mount. Raises ValueError where a count is none."""
    known = {name: value for name, value in said.items() if name in STATUS_FIELDS}
    for name, value in known.items():
        if not (isinstance(value, int | float) and 0 <= value < math.inf):
            raise ValueError(f"{name} of a mount cannot be {value!r}")
    return MountStatus(**known)


def _held_in(message: Message) -> HeldMount:
    (connection,) = message.descriptors
    return HeldMount(MountRecord.from_json(message.fields["record"]), connection)
