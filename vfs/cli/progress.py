"""How far publishing has come: a bar on a terminal, plain lines elsewhere; both on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click
from rich.progress import Progress, TaskID

from vfs.cli.bars import LINE_SECONDS, shown_bars
from vfs.cli.options import human_size
from vfs.snapshots.publish import Progress as PublishProgress
from vfs.snapshots.publish import Step

BYTES_COUNTED = frozenset({Step.HASH, Step.PACK})


@contextmanager
def shown_progress() -> Iterator[PublishProgress]:
    """Show progress on stderr for the length of a block."""
    if not sys.stderr.isatty():
        yield PlainProgress()
        return
    with shown_bars() as bars:
        yield BarProgress(bars)


class PlainProgress:
    """Lines for a log: what is being done, and how much of it is done every few seconds."""

    def __init__(self) -> None:
        """Count nothing yet."""
        self._step = Step.LIST
        self._total: int | None = None
        self._done = 0
        self._shown_at = time.monotonic()

    def begin(self, step: Step, total: int | None) -> None:
        """Start counting anew."""
        self._step, self._total, self._done = step, total, 0
        self._shown_at = time.monotonic()
        click.echo(f"{step} ...", err=True)

    def advance(self, amount: int) -> None:
        """Count, and say so now and then."""
        self._done += amount
        now = time.monotonic()
        if now - self._shown_at >= LINE_SECONDS:
            self._shown_at = now
            click.echo(
                f"{self._step}: {amount_text(self._step, self._done, self._total)}", err=True
            )


class BarProgress:
    """One bar a step."""

    def __init__(self, bars: Progress) -> None:
        """Draw on *bars*, which the caller starts and stops."""
        self._bars = bars
        self._task: TaskID | None = None
        self._step = Step.LIST
        self._total: int | None = None
        self._done = 0

    def begin(self, step: Step, total: int | None) -> None:
        """Replace the bar by one for *step*; it pulses while the total is unknown."""
        if self._task is not None:
            self._bars.remove_task(self._task)
        self._step, self._total, self._done = step, total, 0
        self._task = self._bars.add_task(step, total=total, amount="")

    def advance(self, amount: int) -> None:
        """Move the bar."""
        self._done += amount
        if self._task is not None:
            text = amount_text(self._step, self._done, self._total)
            self._bars.update(self._task, advance=amount, amount=text)


def amount_text(step: Step, done: int, total: int | None) -> str:
    """Say how much of a step is done, in the step's own unit."""
    show = human_size if step in BYTES_COUNTED else "{:,}".format
    return show(done) if total is None else f"{show(done)} of {show(total)}"
