"""What `headrace mount` does once its words are read: look the dataset up, and mount it."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cachesvc.ambient import credentials_in
from cachesvc.config import CacheConfig
from vfs.cli.options import run
from vfs.mounting.launch import launch
from vfs.mounting.record import MountRecord
from vfs.mounting.spec import MountSpec
from vfs.snapshots.dataset import Dataset, DatasetRequest
from vfs.snapshots.repository import StoredSnapshot, published_snapshot


@dataclass(frozen=True, slots=True)
class FoundDataset:
    """A dataset that somebody asked for, and the snapshot that it has, if any was published."""

    request: DatasetRequest
    dataset: Dataset
    published: StoredSnapshot | None


def find(source: str, repository: str | None, options: Mapping[str, str]) -> FoundDataset:
    """Return what the words for a dataset mean now. Raises HeadraceError leaves."""
    request = DatasetRequest(source, repository, options)
    dataset = request.resolve()
    return FoundDataset(request, dataset, run(published_snapshot, dataset))


def mount_found(
    found: FoundDataset,
    mountpoint: Path,
    cache: CacheConfig,
    *,
    worker_count: int,
    allow_other: bool,
    read_ahead_kib: int,
    deadline_seconds: float,
    hang_budget_seconds: float,
) -> MountRecord:
    """Mount the dataset and return when it is served; an unpublished one is scanned first."""
    dataset, snapshot = _snapshot_of(found, cache)
    spec = MountSpec(
        key=secrets.token_hex(16),
        mountpoint=mountpoint,
        request=found.request,
        source=dataset.source,
        repository=dataset.repository,
        ref=dataset.snapshot_or_default,
        snapshot_id=snapshot.snapshot_id,
        manifest_size=snapshot.manifest_size,
        cache=cache,
        uid=os.geteuid(),
        gid=os.getegid(),
        worker_count=worker_count,
        allow_other=allow_other,
        read_ahead_kib=read_ahead_kib,
        deadline_seconds=deadline_seconds,
        hang_budget_seconds=hang_budget_seconds,
        environment=credentials_in(os.environ),
    )
    return launch(spec)


def _snapshot_of(found: FoundDataset, cache: CacheConfig) -> tuple[Dataset, StoredSnapshot]:
    if found.published is not None:
        return found.dataset, found.published
    # What publishes and shows progress takes 60 ms to import, which no other mount should pay.
    from vfs.cli.scanning import scanned  # noqa: PLC0415

    return scanned(found.dataset, cache)
