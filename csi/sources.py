"""Source mounts: one FUSE mount for all volumes that show the same thing, and who uses it.

This process is one of the holders of each connection. It makes and unmakes mounts, and never looks
into one but to learn whether it is dead.

A spec that the mounter resolved has the *share* as its key: what tells apart what is shown, how,
and as whom. Each mount has a key of its own, the share and a random suffix, so that a new mount
never meets one of the same share that is on its way out.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import re
import secrets
import select
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from csi.budget import Budget
from csi.errors import CsiError, MounterFailedError, UnavailableError
from csi.mounter import HeldMount, Mounter
from csi.mounts import Mounts
from csi.specs import SpecFiles
from csi.threads import StuckError, Threads
from vfs.errors import MountError
from vfs.mounting.connection import abort, make_mount
from vfs.mounting.mountinfo import FILESYSTEM_TYPE, MountInfo
from vfs.mounting.record import MountRecord
from vfs.mounting.spec import MountSpec

log = logging.getLogger(__name__)

MOUNT_SECONDS = 15.0
DETACH_SECONDS = 5.0
REBIND_SECONDS = 30.0
PROBE_SECONDS = 2.0
SETTLE_SECONDS = 15.0
LOOK_SECONDS = 5.0
KEY = re.compile(r"[0-9a-f]{32}-[0-9a-f]{8}")
SHARE_SIZE = 32

Rebound = Callable[[Sequence[Path]], None]


class SourceMounts:
    """All source mounts of this node. Owns their descriptors."""

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
        self._directory = directory
        self._mounter = mounter
        self._mounts = mounts
        self._threads = threads
        self._specs = specs
        self._budget = budget
        self._grace_seconds = grace_seconds
        self._rebound = rebound
        self._held: dict[str, HeldMount] = {}
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
        async with self._locks[spec.key[:SHARE_SIZE]]:
            mount = self._live_one(spec)
            if mount is None:
                mount = await self._make(self._own(spec))
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
        mount = self._held.get(key)
        return mount is not None and is_connected(mount.connection)

    async def revive(self, key: str) -> None:
        """Give a mount that nobody holds a new connection, and its targets too.

        Raises UnavailableError when what it takes is not known any more.
        """
        await self._until_settled()  # till then the mounter may hold what seems dead
        async with self._locks[key[:SHARE_SIZE]]:
            if self.is_live(key):
                return
            held = self._held.get(key)
            spec = held.record.spec if held is not None else self._specs.load(key)
            if spec is None or not self._is_ours(spec):
                raise UnavailableError(
                    f"the mount {key} is dead and how it was made is not known; delete its pods"
                )
            await self._make(spec)
        await self.rebind(key)

    async def refresh(self, key: str, spec: MountSpec) -> None:
        """Have a live mount go on with the credentials of *spec*."""
        mount = self._held[key]
        fresh = self._placed(spec, key)
        await self._mounter.refresh(key, fresh)
        self._held[key] = HeldMount(replace(mount.record, spec=fresh), mount.connection)
        self._specs.save(fresh)

    # For the mounter (csi.mounter.Holder)

    def held(self) -> list[HeldMount]:
        """Return all that is held."""
        return list(self._held.values())

    def adopt(self, mount: HeldMount) -> None:
        """Hold what the mounter holds; the connection is this object's from now on."""
        key = mount.record.key
        made_here = self._is_ours(mount.record.spec) and key in os.listdir(self._directory)
        if made_here and key not in self._held:
            spec = self._placed(mount.record.spec, key)
            self._held[key] = HeldMount(replace(mount.record, spec=spec), mount.connection)
            self._specs.save(spec)
        else:
            os.close(mount.connection)

    def settle(self) -> None:
        """Take note that both sides know all that the other has."""
        self._settled.set()

    async def renew(self, key: str) -> HeldMount | None:
        """Give a mount a new connection, which the caller has served; None when nobody wants it."""
        if key not in self._held:
            return None
        async with self._locks[key[:SHARE_SIZE]]:
            mount = self._held.get(key)
            return None if mount is None else await self._connect(mount.record.spec)

    async def rebind(self, key: str) -> None:
        """Let the targets of a mount that was given a new connection show it."""
        mount = self._held[key]
        dead = self._outdated(mount)
        source = mount.record.spec.mountpoint
        call = partial(self._mounts.rebind, source, dead)
        await self._threads.run(f"rebind {source}", call, REBIND_SECONDS)
        self._rebound([info.mountpoint for info in dead])

    def lose(self, key: str) -> None:
        """Take note that the kernel may have ended a connection."""
        if key in self._held and not self.is_live(key):
            os.close(self._held.pop(key).connection)

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
        for key, mount in self._held.items():
            is_same = mount.record.spec.identity == spec.identity
            if is_same and key[:SHARE_SIZE] == spec.key[:SHARE_SIZE] and self._is_usable(mount):
                return mount
        return None

    def _is_usable(self, mount: HeldMount) -> bool:
        """Say whether the mount is connected and still to be seen at its own place."""
        return is_connected(mount.connection) and any(
            info.minor == mount.record.connection
            and info.mountpoint == mount.record.spec.mountpoint
            for info in self._mounts.table()
        )

    def _own(self, spec: MountSpec) -> MountSpec:
        """Return *spec* with a key and a mountpoint that no other mount ever had."""
        key = f"{spec.key[:SHARE_SIZE]}-{secrets.token_hex(4)}"
        if not KEY.fullmatch(key):
            raise MounterFailedError("MountError", f"the mounter made up a key: {spec.key!r}")
        return self._placed(spec, key)

    def _placed(self, spec: MountSpec, key: str) -> MountSpec:
        """Return *spec* with all that the mounter has no say in."""
        mountpoint = self._directory / key
        return replace(spec, key=key, mountpoint=mountpoint, allow_other=True, no_exec=True)

    def _is_ours(self, spec: MountSpec) -> bool:
        """Say whether a spec mounts where this driver mounts: the mounter is less trusted."""
        return bool(KEY.fullmatch(spec.key)) and spec.mountpoint == self._directory / spec.key

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
        held = {key: mount.record.spec.worker_count for key, mount in self._held.items()}
        others = {**held, **self._making}
        return sum(count for key, count in others.items() if key != spec.key)

    async def _make_served(self, spec: MountSpec) -> HeldMount:
        mount = await self._connect(spec)
        try:
            await self._mounter.serve(mount)
        except BaseException:
            await asyncio.shield(self._unmount(spec.key))
            raise
        self._specs.save(spec)
        return mount

    async def _connect(self, spec: MountSpec) -> HeldMount:
        """Mount *spec* in the place of whatever is there, and hold the connection."""
        await self._clear(spec)
        call = partial(make_mount_at, spec)
        try:
            record, connection = await self._threads.run(
                f"mount {spec.mountpoint}", call, MOUNT_SECONDS, undo_mount
            )
        except MountError as error:
            raise UnavailableError(str(error)) from error
        before = self._held.get(spec.key)
        mount = self._held[spec.key] = HeldMount(record, connection)
        if before is not None:
            os.close(before.connection)
        return mount

    async def _clear(self, spec: MountSpec) -> None:
        """Fail whatever waits on the connection that is mounted there, and take it off."""
        for info in self._mounts.table():
            if info.mountpoint == spec.mountpoint and info.filesystem == FILESYSTEM_TYPE:
                call = partial(abort, info.minor)
                await self._threads.run(f"abort {spec.key}", call, DETACH_SECONDS)
        call_detach = partial(self._mounts.detach, spec.mountpoint)
        await self._threads.run(f"unmount {spec.mountpoint}", call_detach, DETACH_SECONDS)

    def _end_if_unused(self, key: str) -> None:
        if not self._users[key]:
            del self._users[key]
            if key in self._held and key not in self._ends:
                self._ends[key] = asyncio.create_task(self._end_later(key))

    async def _end_later(self, key: str) -> None:
        await asyncio.sleep(self._grace_seconds)
        async with self._locks[key[:SHARE_SIZE]]:
            self._ends.pop(key, None)
            if key not in self._users:
                await self._take_down(key)

    async def _end_now(self, key: str) -> None:
        """Take a mount down before its time, unless somebody wants it or is at it already."""
        lock = self._locks[key[:SHARE_SIZE]]
        if lock.locked():
            return
        async with lock:
            if (end := self._ends.pop(key, None)) is not None:
                end.cancel()
            if key not in self._users:
                await self._take_down(key)

    async def _take_down(self, key: str) -> None:
        """Unmount and forget. Who is still inside is served until they leave."""
        await self._unmount(key)
        self._specs.remove(key)
        self._mounter.statuses.pop(key, None)

    async def _unmount(self, key: str) -> None:
        place = self._directory / key
        try:
            call = partial(self._mounts.detach, place)
            await self._threads.run(f"unmount {place}", call, DETACH_SECONDS)
        except CsiError as error:
            log.error("%s stays mounted: %s", place, error)
        else:
            with suppress(OSError):
                place.rmdir()
        if (mount := self._held.pop(key, None)) is not None:
            os.close(mount.connection)

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
        made = {path.name for path in self._directory.iterdir() if KEY.fullmatch(path.name)}
        return made | set(self._held) | set(self._specs.keys())

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


def make_mount_at(spec: MountSpec) -> tuple[MountRecord, int]:
    """Make the mountpoint and mount *spec* there. Raises MountError."""
    try:
        spec.mountpoint.mkdir(mode=0o755, parents=True, exist_ok=True)
    except OSError as error:
        raise MountError(f"cannot make {spec.mountpoint}: {error.strerror}") from error
    return make_mount(spec)


def undo_mount(made: tuple[MountRecord, int]) -> None:
    """Abort a mount that came too late; whoever clears its place takes it off."""
    record, connection = made
    os.close(connection)
    abort(record.connection)


def is_connected(connection: int) -> bool:
    """Say whether the kernel still has the other end of a FUSE descriptor."""
    poll = select.poll()
    poll.register(connection, 0)
    return not poll.poll(0)


def is_disconnected(mountpoint: Path) -> bool:
    """Say whether a mount has no server any more; waits for one that does not answer."""
    try:
        os.statvfs(mountpoint)
    except OSError as error:
        return error.errno in {errno.ENOTCONN, errno.ECONNABORTED}
    return False
