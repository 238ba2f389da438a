"""A mount's connection with the kernel: how it is made, and how it is given up."""

from __future__ import annotations

import os
import select
from contextlib import suppress
from pathlib import Path

from vfs.errors import MountError
from vfs.mounting.mount import MountOptions, mount, set_read_ahead, unmount
from vfs.mounting.mountinfo import mount_table, mounted_at
from vfs.mounting.record import MountRecord
from vfs.mounting.spec import MountSpec
from vfs.serving import protocol

INIT_SECONDS = 10
MAX_READAHEAD = 64 << 20
"""Upper bound for the kernel's readahead; the mount's bdi sets the real figure."""


def make_mount(spec: MountSpec) -> tuple[MountRecord, int]:
    """Mount *spec* and return what serving it takes, and the descriptor, which the caller owns.

    Raises MountError; nothing is left mounted then.
    """
    options = MountOptions(f"headrace:{spec.source.root}", spec.allow_other, spec.no_exec)
    descriptor = mount(spec.mountpoint, options)
    try:
        return _begin(spec, descriptor), descriptor
    except BaseException:
        os.close(descriptor)
        unmount(spec.mountpoint, lazy=True)
        raise


def _begin(spec: MountSpec, descriptor: int) -> MountRecord:
    """Answer the kernel's first request."""
    info = mounted_at(spec.mountpoint)
    if info is None:
        raise MountError(f"{spec.mountpoint} was unmounted before it could be served")
    set_read_ahead(info, spec.read_ahead_kib)
    if not select.select([descriptor], [], [], INIT_SECONDS)[0]:
        raise MountError(f"the kernel does not begin to talk at {spec.mountpoint}")
    init = os.read(descriptor, protocol.REQUEST_BUFFER_SIZE)
    os.write(descriptor, protocol.init_reply(init, MAX_READAHEAD))
    return MountRecord(spec, init, info.minor)


def make_mount_anew(record: MountRecord) -> tuple[MountRecord, int]:
    """Give up a connection on which nobody answers, and mount the same again in its place.

    Whoever waits for an answer gets an error, at the latest when the last copy of the old
    descriptor is closed. Raises MountError when the mount was taken off meanwhile.
    """
    abort(record.connection)
    if not is_in_place(record):
        raise MountError(f"{record.spec.mountpoint} was taken off; it is not mounted anew")
    unmount(record.spec.mountpoint, lazy=True)
    return make_mount(record.spec)


def abort(connection: int) -> None:
    """Have the kernel fail whatever waits on a connection, where it lets this user."""
    with suppress(OSError):
        Path(f"/sys/fs/fuse/connections/{connection}/abort").write_text("1")


def is_in_place(record: MountRecord) -> bool:
    """Say whether the mount is still seen at its mountpoint."""
    return any(
        info.minor == record.connection and info.mountpoint == record.spec.mountpoint
        for info in mount_table()
    )
