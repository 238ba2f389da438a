"""What all commands of `python -m bench` share: where they write, and what they tell meanwhile."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console

from bench.demo import ending_cleanly_on_signals
from bench.ownmounts import part_with_other_mounts

out_option = click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="Write JSON there as well."
)


@contextmanager
def unshared_scratch_directory() -> Iterator[Path]:
    """Do as `scratch_directory`; what is mounted there meanwhile only this process's own see."""
    part_with_other_mounts()
    with scratch_directory() as path:
        yield path


@contextmanager
def scratch_directory() -> Iterator[Path]:
    """Make a directory for all that a scenario writes; it is gone afterwards, also when killed."""
    with (
        ending_cleanly_on_signals(),
        tempfile.TemporaryDirectory(prefix="headrace-bench-", ignore_cleanup_errors=True) as path,
    ):
        yield Path(path).resolve()


def say(text: str) -> None:
    """Tell what happens now."""
    click.echo(f"bench: {text}", err=True)


def console(width: int) -> Console:
    """Return where tables go: the terminal, or a file with lines of that *width*."""
    return Console(width=None if sys.stdout.isatty() else width)
