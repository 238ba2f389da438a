"""Scanning a source that was never published, for one mount alone, as a person watches it."""

from __future__ import annotations

import click

from cachesvc.config import CacheConfig
from vfs.cli.options import run
from vfs.cli.progress import shown_progress
from vfs.mounting.state import all_states
from vfs.snapshots.dataset import Dataset
from vfs.snapshots.repository import StoredSnapshot
from vfs.snapshots.unpublished import private_snapshot


def scanned(dataset: Dataset, cache: CacheConfig) -> tuple[Dataset, StoredSnapshot]:
    """Return a snapshot of the source as it is now, and the dataset that names where it lies."""
    click.echo(
        f"{dataset.source.root} was never published: scanning it for this mount alone. "
        "'headrace snapshot SOURCE' does that once for everybody.",
        err=True,
    )
    in_use = {snapshot for state in all_states() for snapshot in state.snapshots}
    with shown_progress() as progress:
        return run(private_snapshot, dataset, cache.directory, in_use, progress)
