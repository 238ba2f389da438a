"""`headrace umount`: take a mount off and wait until its processes are gone."""

from __future__ import annotations

from pathlib import Path

import click

from vfs.cli.target import state_at
from vfs.errors import MountError
from vfs.mounting.elsewhere import shown_elsewhere
from vfs.mounting.launch import await_end
from vfs.mounting.mount import resolve_mountpoint, unmount
from vfs.mounting.mountinfo import FILESYSTEM_TYPE, mounted_at
from vfs.mounting.state import forget_state


@click.command()
@click.argument("mountpoint", type=Path)
@click.option("--lazy", is_flag=True, help="Detach at once; whoever is inside may finish.")
def umount(mountpoint: Path, *, lazy: bool) -> None:
    """Unmount MOUNTPOINT. What was read stays in the node's cache."""
    target = resolve_mountpoint(mountpoint)
    there = mounted_at(target)
    live = there if there is not None and there.filesystem == FILESYSTEM_TYPE else None
    state = state_at(target, live)
    if live is None and state is None:
        raise MountError(f"nothing of headrace's is mounted at {target}; see 'headrace list'")
    if live is not None:
        unmount(target, lazy=lazy)
    if state is None or lazy:
        return
    other = shown_elsewhere(state.connection)
    if other is not None:
        click.echo(_served_on(target, other), err=True)
        return
    await_end(state.key, target)
    forget_state(state.key)


def _served_on(target: Path, process: int) -> str:
    return (
        f"{target} is unmounted here; it is served on for process {process}, which has "
        "a copy of it in another mount namespace, until that ends"
    )
