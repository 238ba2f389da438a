"""`headrace keeper`: hold on to this user's mounts in the foreground."""

from __future__ import annotations

import sys

import click

from vfs.errors import MountError
from vfs.mounting import keeper as process
from vfs.mounting.daemon import KEEPER, daemon_pid


@click.command()
@click.option(
    "--hold-only",
    is_flag=True,
    help="Stay when there is nothing to hold, and leave it to others to start a supervisor.",
)
def keeper(*, hold_only: bool) -> None:
    """Hold copies of all mounts' connections until there are none.

    A mount starts one by itself; run it yourself where something else is to look after it.
    """
    if (pid := daemon_pid(KEEPER)) is not None:
        raise MountError(f"a keeper runs already (pid {pid})")
    sys.exit(process.main(hold_only=hold_only))
