"""The mounter's end of its attendant: who has the privileges, makes the mounts and holds copies.

Each tells the other what it holds, so that either may die. From then on the attendant hears how the
mounts are, and gives those another connection that cannot be served on the one they have.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib.metadata import version

import trio

from vfs.errors import MountError
from vfs.mounting.link import Link
from vfs.mounting.record import MountRecord
from vfs.mounting.served import ServedMount
from vfs.mounting.wire import Message

log = logging.getLogger(__name__)

STATUS_SECONDS = 2.0
STATUS_MOUNTS = 100
"""In one message, which has a bound."""
ASK_AGAIN_SECONDS = 30.0
"""Then a mount is asked for once more: whoever was asked may have failed, and says nothing."""

Renewed = tuple[MountRecord, int]
Adopt = Callable[[Message], Awaitable[None]]


class Attendant:
    """One that is connected; it counts as a holder until it says that it leaves."""

    def __init__(self, link: Link) -> None:
        """Know it by *link*."""
        self.link = link
        self.is_leaving = False


class Renewal:
    """One mount's wait for another connection."""

    def __init__(self) -> None:
        """Wait."""
        self.done = trio.Event()
        self.answer: Renewed | None = None

    def settle(self, answer: Renewed | None) -> None:
        """End the wait; with None the mount is not wanted any more."""
        self.answer = answer
        self.done.set()


class Attendance:
    """All attendants: one, but for the moments in which one follows another."""

    def __init__(
        self, mounts: Mapping[str, ServedMount], adopt: Adopt, changed: Callable[[], None]
    ) -> None:
        """Tell of *mounts*; pass what is offered to *adopt*; call *changed* as holders come, go."""
        self._mounts = mounts
        self._adopt = adopt
        self._changed = changed
        self._attendants: list[Attendant] = []
        self._renewals: dict[str, Renewal] = {}
        self._arrived = trio.Event()

    @property
    def has_holder(self) -> bool:
        """Say whether somebody who stays holds every mount as well."""
        return self._holder is not None

    @property
    def _holder(self) -> Attendant | None:
        """Return the last to come of those who stay."""
        staying = [attendant for attendant in self._attendants if not attendant.is_leaving]
        return staying[-1] if staying else None

    async def converse(self, link: Link) -> None:
        """Be attended to over *link* until its other end is gone."""
        attendant = Attendant(link)
        if not await self._tell_all(link):
            return
        self._attendants.append(attendant)
        self._note_change()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._report, link)
                await self._listen(attendant)
                nursery.cancel_scope.cancel()
        finally:
            self._attendants.remove(attendant)
            self._note_change()

    async def renewed(self, record: MountRecord, reason: str) -> Renewed:
        """Return the mount *record* on another connection, however long nobody is there to make it.

        Raises MountError when it is not wanted any more.
        """
        renewal = self._renewals[record.key] = Renewal()
        try:
            while not renewal.done.is_set():
                await self._ask_for(renewal, record.key, reason)
        finally:
            del self._renewals[record.key]
        if renewal.answer is None:
            raise MountError(f"{record.spec.mountpoint} is not wanted any more")
        return renewal.answer

    def answers_renewal(self, record: MountRecord, connection: int) -> bool:
        """Take a connection that somebody brings if it is waited for; say whether it was."""
        renewal = self._renewals.get(record.key)
        if renewal is None or renewal.done.is_set():
            return False
        renewal.settle((record, connection))
        return True

    def tell_gone(self, key: str) -> None:
        """Say that the kernel has ended a connection; who does not hear it has to come anew."""
        for attendant in self._attendants:
            if not attendant.link.send("gone", key=key):
                attendant.link.close()

    async def _tell_all(self, link: Link) -> bool:
        """Hand over a copy of everything; False when the attendant went away meanwhile."""
        await link.deliver("welcome", version=version("headrace"))
        for key in list(self._mounts):
            if (served := self._mounts.get(key)) is not None:
                record = served.mount.record.to_json()
                await link.deliver("kept", (served.mount.connection,), key=key, record=record)
        return await link.deliver("end")

    async def _listen(self, attendant: Attendant) -> None:
        while (message := await attendant.link.receive()) is not None:
            match message.kind:
                case "offer" | "renewed":
                    await self._adopt(message)
                case "gone":
                    self._call_off(message.fields["key"])
                case "leave":
                    attendant.is_leaving = True
                    self._note_change()
                case kind:
                    message.close()
                    log.error("an attendant said %r, which means nothing here", kind)

    def _call_off(self, key: str) -> None:
        if (renewal := self._renewals.get(key)) is not None:
            renewal.settle(None)

    async def _ask_for(self, renewal: Renewal, key: str, reason: str) -> None:
        """Ask whoever is there, and wait for a while or until that is another."""
        attendant = self._holder
        if attendant is not None:
            await attendant.link.deliver("renew", key=key, reason=reason)
        with trio.move_on_after(ASK_AGAIN_SECONDS):
            while self._holder is attendant and not renewal.done.is_set():
                await first_of(renewal.done, self._arrived)

    async def _report(self, link: Link) -> None:
        """Say how the mounts are, again and again; slowly where nobody reads it."""
        while True:
            for some in slices(list(self._mounts.items()), STATUS_MOUNTS):
                await link.deliver("status", mounts={key: served.status() for key, served in some})
            await trio.sleep(STATUS_SECONDS)

    def _note_change(self) -> None:
        self._arrived.set()
        self._arrived = trio.Event()
        self._changed()


async def first_of(*events: trio.Event) -> None:
    """Return when any of *events* is set."""
    async with trio.open_nursery() as nursery:

        async def wait_for(event: trio.Event) -> None:
            await event.wait()
            nursery.cancel_scope.cancel()

        for event in events:
            nursery.start_soon(wait_for, event)


def slices(
    items: Sequence[tuple[str, ServedMount]], size: int
) -> list[Sequence[tuple[str, ServedMount]]]:
    """Return *items* in parts of at most *size*, one empty part when there are none."""
    return [items[start : start + size] for start in range(0, max(1, len(items)), size)]
