"""`headrace upgrade`: let newly installed code take over live mounts."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from cachesvc.errors import UsageError
from vfs.cli.target import key_of
from vfs.errors import MountError
from vfs.mounting.ask import ask_supervisor
from vfs.mounting.mount import resolve_mountpoint

UPGRADE_SECONDS = 600


@click.command()
@click.argument("mountpoint", type=Path, required=False)
@click.option("--all", "everything", is_flag=True, help="All mounts, and the supervisor too.")
@click.option(
    "--python",
    type=click.Path(dir_okay=False),
    default=sys.executable,
    help="The interpreter that finds the new code; the default is the one that runs this command.",
)
def upgrade(mountpoint: Path | None, *, everything: bool, python: str) -> None:
    """Replace the processes that serve MOUNTPOINT; its readers notice nothing.

    New ones take over when they have proved that they answer; otherwise the old ones go on.
    """
    if (mountpoint is None) is not everything:
        raise UsageError("name a MOUNTPOINT or --all; see 'headrace upgrade --help'")
    key = None if mountpoint is None else key_of(resolve_mountpoint(mountpoint))
    answer = ask_supervisor("upgrade", UPGRADE_SECONDS, key=key, python=python)
    if answer.kind != "upgraded":
        raise MountError(f"not upgraded, the old processes go on: {answer.fields['error']}")
    click.echo(f"{answer.fields['count']} mounts are served by new processes")
