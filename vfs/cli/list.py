"""`headrace list`: what is mounted, and who serves it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from cachesvc.spawn import service_pid
from vfs.mounting.daemon import KEEPER, SUPERVISOR, daemon_pid
from vfs.mounting.mountinfo import MountInfo, mount_table
from vfs.mounting.process import is_alive
from vfs.mounting.state import MountState, all_states


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON array.")
def list_mounts(*, as_json: bool) -> None:
    """Show this user's mounts with their snapshots and processes."""
    rows = [describe(state) for state in all_states()]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    else:
        _print_table(rows)


def describe(state: MountState) -> dict[str, Any]:
    """Return all that is known of one mount, as `--json` prints it."""
    live = _live_mount(state)
    return {
        "mountpoint": state.mountpoint,
        "source": state.source,
        "repository": state.repository,
        "ref": state.ref,
        "snapshot": state.snapshot,
        "epoch": state.epoch,
        "mounted": live is not None,
        "supervisor": daemon_pid(SUPERVISOR),
        "keeper": daemon_pid(KEEPER),
        "workers": [pid for pid in state.workers if is_alive(pid)],
        "cachesvc": service_pid(Path(state.cache_directory)),
        "cache_directory": state.cache_directory,
    }


def _live_mount(state: MountState) -> MountInfo | None:
    mountpoint = Path(state.mountpoint)
    for info in mount_table():
        if info.mountpoint == mountpoint and info.minor == state.connection:
            return info
    return None


def _print_table(rows: list[dict[str, Any]]) -> None:
    if not rows:
        click.echo("nothing is mounted")
        return
    table = Table(
        "mountpoint",
        "source",
        "ref",
        "snapshot",
        "epoch",
        "supervisor",
        "keeper",
        "workers",
        "cachesvc",
    )
    for row in rows:
        table.add_row(
            row["mountpoint"] if row["mounted"] else f"{row['mountpoint']} (not mounted)",
            row["source"],
            row["ref"] or "-",
            row["snapshot"][:12],
            str(row["epoch"]),
            str(row["supervisor"] or "-"),
            str(row["keeper"] or "-"),
            " ".join(map(str, row["workers"])) or "-",
            str(row["cachesvc"] or "-"),
        )
    Console().print(table)
