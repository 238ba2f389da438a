"""The connections of source mounts: made, held and ended. Knows nothing of who uses them.

A spec that the mounter resolved has the *share* as its key: what tells apart what is shown, how,
and as whom. Each mount has a key of its own, the share and a random suffix, so that a new mount
never meets one of the same share that is on its way out.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import secrets
import select
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from csi.errors import CsiError, MounterFailedError, UnavailableError
from csi.mounter import HeldMount
from csi.mounts import Mounts
from csi.threads import Threads
from vfs.errors import MountError
from vfs.mounting.connection import abort, make_mount
from vfs.mounting.mountinfo import FILESYSTEM_TYPE
from vfs.mounting.record import MountRecord
from vfs.mounting.spec import MountSpec

log = logging.getLogger(__name__)

MOUNT_SECONDS = 15.0
DETACH_SECONDS = 5.0
KEY = re.compile(r"[0-9a-f]{32}-[0-9a-f]{8}")
SHARE_SIZE = 32


def share_of(key: str) -> str:
    """Return what a mount's key has in common with those of others that show the same."""
    return key[:SHARE_SIZE]


class Connections:
    """All connections that this process holds, by key. Owns their descriptors."""

    def __init__(self, directory: Path, mounts: Mounts, threads: Threads) -> None:
        """Mount below *directory*."""
        self._directory = directory
        self._mounts = mounts
        self._threads = threads
        self._held: dict[str, HeldMount] = {}

    def all(self) -> list[HeldMount]:
        """Return all that is held."""
        return list(self._held.values())

    def get(self, key: str) -> HeldMount | None:
        """Return one mount."""
        return self._held.get(key)

    def keys(self) -> set[str]:
        """Return the keys of all that is held, and of all that has a mountpoint."""
        made = {path.name for path in self._directory.iterdir() if KEY.fullmatch(path.name)}
        return made | set(self._held)

    def is_live(self, key: str) -> bool:
        """Say whether the kernel still asks the mount's server; asks nobody."""
        mount = self._held.get(key)
        return mount is not None and is_connected(mount.connection)

    def is_usable(self, mount: HeldMount) -> bool:
        """Say whether a mount is connected and still to be seen at its own place."""
        return is_connected(mount.connection) and any(
            info.minor == mount.record.connection
            and info.mountpoint == mount.record.spec.mountpoint
            for info in self._mounts.table()
        )

    def adopt(self, mount: HeldMount) -> HeldMount | None:
        """Hold what the mounter holds, if it was made here and is not held; else close it."""
        key = mount.record.key
        made_here = self.is_ours(mount.record.spec) and key in os.listdir(self._directory)
        if not made_here or key in self._held:
            os.close(mount.connection)
            return None
        self._held[key] = mount
        return self.change(key, mount.record.spec)

    def change(self, key: str, spec: MountSpec) -> HeldMount:
        """Hold a mount with another spec, such as one with newer credentials."""
        mount = self._held[key]
        record = replace(mount.record, spec=self.placed(spec, key))
        changed = self._held[key] = HeldMount(record, mount.connection)
        return changed

    def lose(self, key: str) -> None:
        """Hold a connection no longer that the kernel has ended."""
        if key in self._held and not self.is_live(key):
            os.close(self._held.pop(key).connection)

    def own(self, spec: MountSpec) -> MountSpec:
        """Return *spec* with a key and a mountpoint that no other mount ever had."""
        key = f"{share_of(spec.key)}-{secrets.token_hex(4)}"
        if not KEY.fullmatch(key):
            raise MounterFailedError("MountError", f"the mounter made up a key: {spec.key!r}")
        return self.placed(spec, key)

    def placed(self, spec: MountSpec, key: str) -> MountSpec:
        """Return *spec* with all that the mounter has no say in."""
        mountpoint = self._directory / key
        return replace(spec, key=key, mountpoint=mountpoint, allow_other=True, no_exec=True)

    def is_ours(self, spec: MountSpec) -> bool:
        """Say whether a spec mounts where this driver mounts: the mounter is less trusted."""
        return bool(KEY.fullmatch(spec.key)) and spec.mountpoint == self._directory / spec.key

    async def connect(self, spec: MountSpec) -> HeldMount:
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

    async def unmount(self, key: str) -> None:
        """Take a mount off and hold it no longer; who is still inside is served on."""
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
