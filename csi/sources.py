"""Source mounts: one FUSE mount for all volumes that show the same thing, and who uses it.

This process is one of the holders of each connection. It makes and unmakes mounts, and never looks
into one but to learn whether it is dead.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from csi.budget import Budget
from csi.connections import Connections, is_disconnected, share_of
from csi.errors import CsiError, UnavailableError
from csi.mounter import HeldMount, Mounter
from csi.mounts import Mounts
from csi.specs import SpecFiles
from csi.threads import StuckError, Threads
from vfs.mounting.mountinfo import MountInfo
from vfs.mounting.spec import MountSpec

log = logging.getLogger(__name__)

REBIND_SECONDS = 30.0
PROBE_SECONDS = 2.0
SETTLE_SECONDS = 15.0
LOOK_SECONDS = 5.0

Rebound = Callable[[Sequence[Path]], None]


class SourceMounts:
    """All source mounts of this node, by share and key."""

    def __init__(
        self,
        directory: Path,
        mounter: Mounter,
        mounts: Mounts,
        threads: Threads,
        *,
        specs: SpecFiles,
        budget: Budget,
        grace_seconds: float,
        rebound: Rebound,
    ) -> None:
        """Mount below *directory*; tell *rebound* which targets were given another connection."""
        self._connections = Connections(directory, mounts, threads)
        self._mounter = mounter
        self._mounts = mounts
        self._threads = threads
        self._specs = specs
        self._budget = budget
        self._grace_seconds = grace_seconds
        self._rebound = rebound
        self._making: dict[str, int] = {}
        self._users: defaultdict[str, set[Path]] = defaultdict(set)
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._ends: dict[str, asyncio.Task[None]] = {}
        self._settled = asyncio.Event()

    # For the publisher

    async def run(self, wanted: Mapping[Path, str]) -> None:
        """Look after all mounts until cancelled; *wanted* says which target uses which key."""
        for target, key in wanted.items():
            self._users[key].add(target)
        try:
            await self._settled.wait()
            while True:
                await self._look_after()
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            for end in self._ends.values():
                end.cancel()

    async def acquire(self, spec: MountSpec, target: Path) -> Path:
        """Return the mountpoint of a served mount of *spec*, which *target* uses from now on.

        Raises ExhaustedError, UnavailableError or MounterFailedError; nothing is used then.
        """
        await self._until_settled()
        async with self._locks[share_of(spec.key)]:
            mount = self._live_one(spec)
            if mount is None:
                mount = await self._make(self._connections.own(spec))
            elif mount.record.spec.environment != spec.environment:
                await self.refresh(mount.record.key, spec)  # older ones may be near their end
            key = mount.record.key
            self._users[key].add(target)
            if (end := self._ends.pop(key, None)) is not None:
                end.cancel()
            return mount.record.spec.mountpoint

    def release(self, target: Path) -> None:
        """Take note that *target* shows nothing any more."""
        for key, users in list(self._users.items()):
            users.discard(target)
            self._end_if_unused(key)

    def is_live(self, key: str) -> bool:
        """Say whether the kernel still asks the mount's server; asks nobody."""
        return self._connections.is_live(key)

    async def revive(self, key: str) -> None:
        """Give a mount that nobody holds a new connection, and its targets too.

        Raises UnavailableError when what it takes is not known any more.
        """
        await self._until_settled()  # till then the mounter may hold what seems dead
        async with self._locks[share_of(key)]:
            if self.is_live(key):
                return
            held = self._connections.get(key)
            spec = held.record.spec if held is not None else self._specs.load(key)
            if spec is None or not self._connections.is_ours(spec):
                raise UnavailableError(
                    f"the mount {key} is dead and how it was made is not known; delete its pods"
                )
            await self._make(spec)
        await self.rebind(key)

    async def refresh(self, key: str, spec: MountSpec) -> None:
        """Have a live mount go on with the credentials of *spec*. Raises UnavailableError."""
        await self._mounter.refresh(key, self._connections.placed(spec, key))
        if self._connections.get(key) is None:
            raise UnavailableError(f"the mount {key} ended meanwhile; it will be tried again")
        self._specs.save(self._connections.change(key, spec).record.spec)

    # For the mounter (csi.mounter.Holder)

    def held(self) -> list[HeldMount]:
        """Return all that is held."""
        return self._connections.all()

    def adopt(self, mount: HeldMount) -> None:
        """Hold what the mounter holds; the connection is this object's from now on."""
        if (adopted := self._connections.adopt(mount)) is not None:
            self._specs.save(adopted.record.spec)

    def settle(self) -> None:
        """Take note that both sides know all that the other has."""
        self._settled.set()

    async def renew(self, key: str) -> HeldMount | None:
        """Give a mount a new connection, which the caller has served; None when nobody wants it."""
        if self._connections.get(key) is None:
            return None
        async with self._locks[share_of(key)]:
            mount = self._connections.get(key)
            return None if mount is None else await self._connections.connect(mount.record.spec)

    async def rebind(self, key: str) -> None:
        """Let the targets of a mount that was given a new connection show it."""
        mount = self._connections.get(key)
        if mount is None:  # nobody uses it any more
            return
        dead = self._outdated(mount)
        source = mount.record.spec.mountpoint
        call = partial(self._mounts.rebind, source, dead)
        await self._threads.run(f"rebind {source}", call, REBIND_SECONDS)
        self._rebound([info.mountpoint for info in dead])

    def lose(self, key: str) -> None:
        """Take note that the kernel may have ended a connection."""
        self._connections.lose(key)

    # Making and unmaking

    async def _until_settled(self) -> None:
        try:
            async with asyncio.timeout(SETTLE_SECONDS):
                await self._settled.wait()
        except TimeoutError:
            raise UnavailableError(
                "the mounter of this node is not there; is its pod running?"
            ) from None

    def _live_one(self, spec: MountSpec) -> HeldMount | None:
        """Return a mount to share; not one that has gone on with another's credentials since."""
        for mount in self._connections.all():
            is_same = mount.record.spec.identity == spec.identity
            is_same = is_same and share_of(mount.record.key) == share_of(spec.key)
            if is_same and self._connections.is_usable(mount):
                return mount
        return None

    async def _make(self, spec: MountSpec) -> HeldMount:
        """Mount *spec* and return when it is served; leave nothing when that fails."""
        await self._make_room(spec)
        self._making[spec.key] = spec.worker_count
        try:
            return await self._make_served(spec)
        finally:
            del self._making[spec.key]

    async def _make_room(self, spec: MountSpec) -> None:
        """Take down what nobody uses until *spec* fits the budget. Raises ExhaustedError."""
        for key in list(self._ends):
            if self._budget.admits(self._workers_beside(spec), spec.worker_count):
                break
            await self._end_now(key)
        self._budget.check(self._workers_beside(spec), spec.worker_count)

    def _workers_beside(self, spec: MountSpec) -> int:
        """Return how many workers the other mounts have, those that are being made included."""
        specs = [mount.record.spec for mount in self._connections.all()]
        held = {one.key: one.worker_count for one in specs}
        others = {**held, **self._making}
        return sum(count for key, count in others.items() if key != spec.key)

    async def _make_served(self, spec: MountSpec) -> HeldMount:
        mount = await self._connections.connect(spec)
        try:
            await self._mounter.serve(mount)
        except BaseException:
            await asyncio.shield(self._connections.unmount(spec.key))
            raise
        self._specs.save(spec)
        return mount

    def _end_if_unused(self, key: str) -> None:
        if not self._users[key]:
            del self._users[key]
            if self._connections.get(key) is not None and key not in self._ends:
                self._ends[key] = asyncio.create_task(self._end_later(key))

    async def _end_later(self, key: str) -> None:
        await asyncio.sleep(self._grace_seconds)
        async with self._locks[share_of(key)]:
            self._ends.pop(key, None)
            if key not in self._users:
                await self._take_down(key)

    async def _end_now(self, key: str) -> None:
        """Take a mount down before its time, unless somebody wants it or is at it already."""
        lock = self._locks[share_of(key)]
        if lock.locked():
            return
        async with lock:
            if (end := self._ends.pop(key, None)) is not None:
                end.cancel()
            if key not in self._users:
                await self._take_down(key)

    async def _take_down(self, key: str) -> None:
        """Unmount and forget. Who is still inside is served until they leave."""
        await self._connections.unmount(key)
        self._specs.remove(key)
        self._mounter.statuses.pop(key, None)

    # Looking after what is there

    async def _look_after(self) -> None:
        """Revive what is dead and wanted; take down what nobody uses."""
        for key in list(self._users):
            if not self.is_live(key) and await self._is_dead(key):
                await self._try_to_revive(key)
        for key in self._known():
            if key not in self._users and key not in self._ends:
                self._ends[key] = asyncio.create_task(self._end_later(key))

    def _known(self) -> set[str]:
        """Return all that there is anything of."""
        return self._connections.keys() | set(self._specs.keys())

    async def _try_to_revive(self, key: str) -> None:
        log.warning("nobody holds the mount %s any more; mounting it anew", key)
        try:
            await self.revive(key)
        except CsiError as error:
            log.error("%s", error)

    async def _is_dead(self, key: str) -> bool:
        """Say whether the kernel has given a mount up, by looking at it, but not for long."""
        shown = [
            info for info in self._mounts.table() if info.mountpoint in self._users.get(key, ())
        ]
        if not shown:
            return False
        call = partial(is_disconnected, shown[-1].mountpoint)
        try:
            return await self._threads.run(f"look at {key}", call, PROBE_SECONDS)
        except StuckError:
            return False

    def _outdated(self, mount: HeldMount) -> list[MountInfo]:
        """Return what the targets of a mount show in its stead."""
        users = self._users.get(mount.record.key, ())
        shown = {info.mountpoint: info for info in self._mounts.table()}
        return [
            info
            for target in users
            if (info := shown.get(target)) is not None and info.minor != mount.record.connection
        ]
