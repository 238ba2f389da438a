"""How progress is shown on stderr: bars on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

LINE_SECONDS = 5.0
"""A plain line at most this often, and one when a step is over."""


@contextmanager
def shown_bars() -> Iterator[Progress]:
    """Show bars on stderr for the length of a block; each says its `amount` in words."""
    # 40 ms that only a person at a terminal needs to wait for.
    from rich import progress  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415

    columns = (
        progress.SpinnerColumn(),
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.TextColumn("{task.fields[amount]}"),
        progress.TimeElapsedColumn(),
    )
    with progress.Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        yield bars
