"""One mount and its workers: so many as it should have, whatever becomes of them.

When a worker dies another takes over on the same connection, and the kernel repeats what was left
unanswered: for readers that is a pause, not an error.
"""

from __future__ import annotations

import logging
import os
import select
from collections.abc import Awaitable, Callable
from dataclasses import replace

import trio

from cachesvc.errors import HeadraceError
from vfs.errors import MountError
from vfs.mounting.connection import make_mount_anew
from vfs.mounting.counting import Counting
from vfs.mounting.crew import CrewMember, hire
from vfs.mounting.forking import Zygote, ZygoteGoneError
from vfs.mounting.keeping import HeldMount
from vfs.mounting.nodecache import expect_manifest
from vfs.mounting.process import is_alive, pid_namespace
from vfs.mounting.record import MountRecord
from vfs.mounting.spec import MountSpec
from vfs.mounting.state import MountState, load_state, save_state
from vfs.serving import protocol

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 1.0
RETURN_SECONDS = 2.0
"""How long a new supervisor waits for workers that live to call."""
LOOK_SECONDS = 0.1
"""How often it looks whether they still do."""
FIRST_BACKOFF_SECONDS = 0.05
LONGEST_BACKOFF_SECONDS = 1.0
CALM_SECONDS = 3.0
"""When no worker had to be replaced for so long the next one follows at once."""
END_SECONDS = 2.0
NO_RESEND_VARIABLE = "HEADRACE_SIMULATE_NO_RESEND"
"""Set to 1 it makes any kernel behave as those before Linux 6.9 do."""


MakeAnew = Callable[[MountRecord, str], Awaitable[tuple[MountRecord, int]]]
"""Returns a mount in the place of one that had to be given up for a reason, and its descriptor."""


async def make_mount_anew_in_thread(record: MountRecord, _reason: str) -> tuple[MountRecord, int]:
    """Do it here."""
    return await trio.to_thread.run_sync(make_mount_anew, record)


class ServedMount:
    """Keeps a mount served. Does not own its descriptor."""

    def __init__(
        self,
        mount: HeldMount,
        zygote: Callable[[], Awaitable[Zygote]],
        hold: Callable[[HeldMount], None],
        make_anew: MakeAnew = make_mount_anew_in_thread,
    ) -> None:
        """Serve *mount* by workers that *zygote* forks; tell *hold* when there is another record.

        *make_anew* gives it another connection where the one that it has cannot be served.
        """
        self.mount = mount
        self._hold = hold
        self._make_anew = make_anew
        self._counting = Counting()
        self.settled = trio.Event()
        """Set when all workers serve, or when `error` tells why none does."""
        self.error: HeadraceError | None = None
        self.ended = trio.Event()
        self._zygote = zygote
        self.is_given_up = False
        """Another takes its place, under the same name."""
        self._crew: list[CrewMember] = []
        self._retiring: list[CrewMember] = []
        self._owes_resend = False
        simulated = os.environ.get(NO_RESEND_VARIABLE) == "1"
        self._can_resend = protocol.can_resend(mount.record.init) and not simulated
        self._hang_count = 0
        self._changed = trio.Event()
        self._backoff = FIRST_BACKOFF_SECONDS
        self._calm_until = 0.0

    @property
    def _spec(self) -> MountSpec:
        return self.mount.record.spec

    async def run(self, *, is_new: bool) -> None:
        """Serve until it is unmounted. Raises MountError when that of a new one cannot begin."""
        known = load_state(self._spec.key)
        if is_new:
            expect_manifest(self._spec)  # which is on its way while the first worker starts
        else:
            self._counting.begin_stall()
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self._beat)
            if known is not None:
                await self._await_return(known.workers_in(pid_namespace()))
            await self._keep_crew(is_new=is_new)
            await self._dismiss_crew()
            nursery.cancel_scope.cancel()

    def is_mounted(self) -> bool:
        """Say whether the kernel still has the connection, and nobody has given it up."""
        if self.is_given_up:
            return False
        poll = select.poll()
        poll.register(self.mount.connection, 0)
        return not poll.poll(0)

    def give_up(self) -> None:
        """Serve no longer; the connection stays as it is."""
        self.is_given_up = True
        self._note_change()

    def status(self) -> dict[str, object]:
        """Return how it goes, in figures."""
        workers = (*self._crew, *self._retiring)
        return {
            "alive": any(worker.is_alive for worker in self._crew),
            "workers": len(self._crew),
            **self._counting.status(worker.tally for worker in workers),
        }

    def refresh(self, spec: MountSpec) -> None:
        """Go on with the credentials of *spec*. Raises MountError when it is another mount's."""
        fresh = self._spec.with_credentials_of(spec)
        self.mount = replace(self.mount, record=replace(self.mount.record, spec=fresh))
        self._hold(self.mount)
        for worker in (*self._crew, *self._retiring):
            worker.follow(self.mount.record)

    async def adopt(self, worker: CrewMember) -> None:
        """Take on a worker that serves already, and stay with it until it is gone."""
        self._enlist(worker)
        self._note_change()
        await self._stay_with(worker)

    async def renew(self, zygote: Zygote) -> None:
        """Let workers of *zygote* take over once they have proved that they answer.

        Raises MountError when they do not; then the old ones go on.
        """
        await self.settled.wait()
        fresh: list[CrewMember] = []
        try:
            for _ in range(self._spec.worker_count):
                worker = await hire(zygote, self.mount)
                fresh.append(worker)
                self._nursery.start_soon(self._stay_with, worker)
                await worker.probe()
        except MountError:
            for worker in fresh:
                worker.kill()
            raise
        old, self._crew = self._crew, []
        for worker in fresh:
            self._enlist(worker)
        for worker in old:
            self._retire(worker)
        self._record_crew()
        self._note_change()

    async def _await_return(self, pids: tuple[int, ...]) -> None:
        """Wait until the workers of the last supervisor that live have called."""
        with trio.move_on_after(RETURN_SECONDS):
            while any(map(is_alive, set(pids) - {worker.pid for worker in self._crew})):
                with trio.move_on_after(LOOK_SECONDS):
                    await self._change()
        # Who died while nobody watched, a retired one perhaps, is unknown, and to have the kernel
        # repeat what is being answered does no harm.
        is_crew_whole = bool(pids) and all(map(is_alive, pids))
        self._owes_resend |= self._can_resend or not is_crew_whole

    async def _keep_crew(self, *, is_new: bool) -> None:
        while self.is_mounted():
            if reason := self._reason_to_start_over():
                await self._mount_anew(reason)
            self._settle_debts()
            try:
                await self._fill_up()
            except MountError as error:
                if is_new and not self.settled.is_set():
                    raise
                log.error("%s: %s", self._spec.mountpoint, error)
                self._changed.set()
            else:
                self._settle()
            await self._change()

    def _settle(self) -> None:
        """All are there: write down who serves now."""
        self._retire_surplus()
        self._settle_debts()
        self._record_crew()
        self.settled.set()

    async def _dismiss_crew(self) -> None:
        """Wait until the workers have noticed that there is nothing to serve any more."""
        with trio.move_on_after(END_SECONDS):
            while self._crew or self._retiring:
                await self._change()
        for worker in (*self._crew, *self._retiring):
            worker.kill()

    async def _fill_up(self) -> None:
        """Hire whoever is missing."""
        if len(self._crew) < self._spec.worker_count:
            await self._back_off()
        while len(self._crew) < self._spec.worker_count and self.is_mounted():
            try:
                await self._hire(self._spec.worker_count - len(self._crew))
            except ZygoteGoneError as error:
                log.warning("%s: %s", self._spec.mountpoint, error)

    async def _hire(self, count: int) -> None:
        """Hire *count* workers side by side, as each waits for the cache and for object storage.

        Raises what kept one of them from serving.
        """
        zygote = await self._zygote()
        errors: list[MountError] = []

        async def hire_one() -> None:
            try:
                self._join(await hire(zygote, self.mount))
            except MountError as error:
                errors.append(error)
            else:
                self._counting.takeovers += 1 if self.settled.is_set() else 0

        async with trio.open_nursery() as nursery:
            for _ in range(count):
                nursery.start_soon(hire_one)
        if errors:
            raise errors[0]

    def _retire_surplus(self) -> None:
        while len(self._crew) > self._spec.worker_count:
            self._retire(self._crew.pop())

    def _retire(self, worker: CrewMember) -> None:
        self._retiring.append(worker)
        worker.retire()

    def _enlist(self, worker: CrewMember) -> None:
        self._crew.append(worker)
        self._counting.end_stall()
        worker.follow(self.mount.record)

    def _join(self, worker: CrewMember) -> None:
        self._enlist(worker)
        self._nursery.start_soon(self._stay_with, worker)

    async def _stay_with(self, worker: CrewMember) -> None:
        await worker.listen()
        if not worker.owes_nothing:
            log.warning("%s: worker %d is gone", self._spec.mountpoint, worker.pid)
            self._owes_resend = True
        for group in (self._crew, self._retiring):
            if worker in group:
                group.remove(worker)
        self._counting.keep(worker.tally)
        self._note_vacancy()
        self._note_change()

    def _note_vacancy(self) -> None:
        if not self._crew and self.is_mounted():
            self._counting.begin_stall()

    async def _back_off(self) -> None:
        """Wait before workers are replaced again: not at all when all was calm for a while."""
        now = trio.current_time()
        if now > self._calm_until:
            self._backoff = FIRST_BACKOFF_SECONDS
        else:
            await trio.sleep(self._backoff)
            self._backoff = min(2 * self._backoff, LONGEST_BACKOFF_SECONDS)
        self._calm_until = trio.current_time() + CALM_SECONDS

    def _settle_debts(self) -> None:
        """Have the kernel repeat what dead workers left unanswered, if there is who answers."""
        if not (self._owes_resend and self._can_resend and self._crew):
            return
        try:
            os.write(self.mount.connection, protocol.resend_notification())
        except OSError as error:
            log.error("%s: the kernel repeats nothing: %s", self._spec.mountpoint, error)
            self._can_resend = False
            self._note_change()
        else:
            self._owes_resend = False

    def _reason_to_start_over(self) -> str | None:
        if self._hang_count > self._spec.worker_count:
            return "its new workers hang as the old ones did"
        if self._owes_resend and not self._can_resend:
            return "a worker died and this kernel repeats no requests"
        return None

    async def _mount_anew(self, reason: str) -> None:
        """Fail all that is in flight and serve a new connection in the place of the old one."""
        log.error("%s: what waits fails: %s", self._spec.mountpoint, reason)
        for worker in (*self._crew, *self._retiring):
            worker.owes_nothing = True
            worker.kill()
        self._crew.clear()
        self._retiring.clear()
        self._counting.begin_stall()
        self._hang_count = 0
        self._owes_resend = False
        record, connection = await self._make_anew(self.mount.record, reason)
        self._counting.renewals += 1
        os.dup2(connection, self.mount.connection, inheritable=False)
        os.close(connection)
        self.mount = HeldMount(record, self.mount.connection)
        self._hold(self.mount)
        log.warning("%s is mounted anew", self._spec.mountpoint)
        self._note_change()

    async def _beat(self) -> None:
        while True:
            await trio.sleep(HEARTBEAT_SECONDS)
            for worker in (*self._crew, *self._retiring):
                self._check(worker)
            if not self.is_mounted():
                self._note_change()

    def _check(self, worker: CrewMember) -> None:
        """Ask for a sign of life, or replace a worker that gave none for too long."""
        if worker.is_responsive and not worker.is_retired:
            self._hang_count = 0
        if worker.unanswered * HEARTBEAT_SECONDS < self._spec.hang_budget_seconds:
            worker.ping()
            return
        log.error("%s: worker %d hangs; replacing it", self._spec.mountpoint, worker.pid)
        self._hang_count += 0 if worker.is_retired else 1
        worker.kill()

    def _record_crew(self) -> None:
        before = load_state(self._spec.key) or self._first_state()
        pids = tuple(sorted(worker.pid for worker in self._crew))
        state = replace(
            before,
            workers=pids,
            pid_namespace=pid_namespace(),
            connection=self.mount.record.connection,
        )
        if state != before or not self.settled.is_set():
            save_state(state)

    def _first_state(self) -> MountState:
        spec = self._spec
        return MountState(
            key=spec.key,
            mountpoint=str(spec.mountpoint),
            source=spec.source.root,
            repository=spec.repository.root,
            ref=spec.ref,
            snapshots=(spec.snapshot_id,),
            connection=self.mount.record.connection,
            cache_directory=str(spec.cache.directory),
        )

    def _note_change(self) -> None:
        self._changed.set()

    async def _change(self) -> None:
        """Wait until a worker comes or goes, or the mount is taken off."""
        await self._changed.wait()
        self._changed = trio.Event()
