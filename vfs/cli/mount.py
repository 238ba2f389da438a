"""`headrace mount`: show a snapshot as a directory."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import click

from cachesvc.config import CacheConfig
from cachesvc.options import cache_options
from vfs.cli.options import repo_options, source_argument
from vfs.mounting.mount import DEFAULT_READ_AHEAD_KIB, check_mountpoint, resolve_mountpoint
from vfs.mounting.preparing import preparing

MOST_WORKERS = 4
"""What one takes by itself; more may be asked for."""


@click.command()
@source_argument
@click.argument("mountpoint", type=Path)
@repo_options
@cache_options
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=lambda: min(len(os.sched_getaffinity(0)), MOST_WORKERS),
    show_default=f"one a core, {MOST_WORKERS} at most",
    help="Processes that serve the mount.",
)
@click.option(
    "--allow-other/--only-me",
    default=None,
    help="Let other users in; the default is yes for root and no for everybody else.",
)
@click.option(
    "--read-ahead",
    "read_ahead_kib",
    type=click.IntRange(0, 1 << 20),
    default=DEFAULT_READ_AHEAD_KIB,
    show_default=True,
    metavar="KIB",
    help="How far the kernel reads ahead in a file (only root may set it).",
)
@click.option(
    "--deadline",
    "deadline_seconds",
    type=click.FloatRange(min=0.1),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How long a read may wait for its bytes.",
)
@click.option(
    "--hang-budget",
    "hang_budget_seconds",
    type=click.FloatRange(min=1),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="When a worker shows no sign of life for so long it is replaced.",
)
@click.option("--foreground", is_flag=True, help="Stay, and unmount on Ctrl-C.")
def mount(
    source: str,
    mountpoint: Path,
    *,
    repo: str | None,
    storage_options: Mapping[str, str],
    cache: CacheConfig,
    workers: int,
    allow_other: bool | None,
    read_ahead_kib: int,
    deadline_seconds: float,
    hang_budget_seconds: float,
    foreground: bool,
) -> None:
    """Mount a snapshot of SOURCE read-only at MOUNTPOINT; bytes move when somebody reads them.

    Without a snapshot's name it is the ref main. A source that was never published is scanned
    first.
    """
    # A mountpoint is a plain Path, which click does not stat: a sick mount would not answer.
    target = resolve_mountpoint(mountpoint)
    check_mountpoint(target)
    with preparing(cache):
        # Imported while those start: 60 ms that would be on the way to the first byte.
        from vfs.cli.mounting import find, mount_found  # noqa: PLC0415
        from vfs.mounting.launch import stay  # noqa: PLC0415

        found = find(source, repo, storage_options)
    record = mount_found(
        found,
        target,
        cache,
        worker_count=workers,
        allow_other=os.geteuid() == 0 if allow_other is None else allow_other,
        read_ahead_kib=read_ahead_kib,
        deadline_seconds=deadline_seconds,
        hang_budget_seconds=hang_budget_seconds,
    )
    click.echo(
        f"{record.spec.source.root} at {record.spec.snapshot_id[:12]} is mounted on {target}"
    )
    if foreground:
        stay(record)
