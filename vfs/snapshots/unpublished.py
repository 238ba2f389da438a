"""The snapshot of a source that was never published: made on the spot, for one mount."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Set
from dataclasses import replace
from pathlib import Path

from cachesvc.objectstore.origin import parse_origin
from vfs.snapshots.dataset import DEFAULT_REF, Dataset
from vfs.snapshots.publish import Progress, PublishOptions, publish
from vfs.snapshots.repository import SNAPSHOT_PREFIX, StoredSnapshot

YOUNG_SECONDS = 3600
"""A manifest so young may be another command's, which has not mounted it yet."""
PRIVATE_REPOSITORIES = "snapshots"
"""Where in the cache directory the snapshots of unpublished sources lie."""


async def private_snapshot(
    dataset: Dataset, cache_directory: Path, in_use: Set[str], progress: Progress
) -> tuple[Dataset, StoredSnapshot]:
    """Publish the source as it is now into a repository of this user's own, and return that.

    Earlier snapshots there are removed, except those *in_use* by a mount.
    """
    name = hashlib.blake2b(dataset.source.root.encode("utf-8", "surrogateescape"), digest_size=8)
    directory = cache_directory / PRIVATE_REPOSITORIES / name.hexdigest()
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    private = replace(dataset, repository=parse_origin(str(directory)))
    published = await publish(private, PublishOptions(DEFAULT_REF), progress)
    _remove_old(directory, {published.snapshot_id, *in_use})
    return private, StoredSnapshot(published.snapshot_id, published.manifest_size)


def _remove_old(repository: Path, kept: Set[str]) -> None:
    """Remove manifests that no mount shows, nor one that is just being made."""
    for manifest in (repository / SNAPSHOT_PREFIX).iterdir():
        if manifest.name not in kept and time.time() - manifest.stat().st_mtime > YOUNG_SECONDS:
            manifest.unlink(missing_ok=True)
