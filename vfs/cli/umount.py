"""`headrace umount`: take a mount off and wait until its processes are gone."""

from __future__ import annotations

from pathlib import Path

import click

from vfs.errors import MountError
from vfs.mounting.mount import resolve_mountpoint, unmount
from vfs.mounting.mountinfo import FILESYSTEM_TYPE, mounted_at
from vfs.mounting.process import wait_for_end
from vfs.mounting.state import forget_state, load_state

END_SECONDS = 10


@click.command()
@click.argument("mountpoint", type=click.Path(path_type=Path))
@click.option("--lazy", is_flag=True, help="Detach at once; whoever is inside may finish.")
def umount(mountpoint: Path, *, lazy: bool) -> None:
    """Unmount MOUNTPOINT. What was read stays in the node's cache."""
    target = resolve_mountpoint(mountpoint)
    state = load_state(target)
    there = mounted_at(target)
    live = there if there is not None and there.filesystem == FILESYSTEM_TYPE else None
    if live is None and state is None:
        raise MountError(f"nothing of headrace's is mounted at {target}; see 'headrace list'")
    if live is not None:
        unmount(target, lazy=lazy)
    if state is None or lazy:
        return
    if not wait_for_end(state.supervisor, END_SECONDS):
        raise MountError(
            f"{target} is unmounted, but its supervisor (pid {state.supervisor}) still runs"
        )
    forget_state(target)
