"""What a person asked to open in process, as one value that any of their processes can open."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import anyio

from cachesvc.config import CacheConfig
from vfs.errors import SnapshotMissingError
from vfs.snapshots.dataset import DatasetRequest
from vfs.snapshots.repository import StoredSnapshot, published_snapshot


@dataclass(frozen=True, slots=True)
class DatasetSpec:
    """A dataset, whose credentials to use, and the cache to read it through.

    `options` may hold secrets. Every read that waits for bytes ends after `deadline_seconds`.
    """

    source: str
    repository: str | None
    options: tuple[tuple[str, str], ...] = field(repr=False)
    cache: CacheConfig
    deadline_seconds: float

    @property
    def request(self) -> DatasetRequest:
        """The dataset in the words of the person."""
        return DatasetRequest(self.source, self.repository, dict(self.options))

    def find(self) -> StoredSnapshot:
        """Return the snapshot that is meant at this moment; asks object storage.

        Raises SnapshotMissingError for a source that was never published.
        """
        dataset = self.request.resolve()
        # In a thread of its own: the caller's may run an event loop, as a notebook's does.
        with ThreadPoolExecutor(1) as thread:
            look = partial(anyio.run, published_snapshot, dataset, backend="asyncio")
            found: StoredSnapshot | None = thread.submit(look).result()
        if found is None:
            raise SnapshotMissingError(
                f"{dataset.source.root} was never published: "
                f"'headrace snapshot {self.source}' does that once for everybody"
            )
        return found


def options_of(options: Mapping[str, object] | None) -> tuple[tuple[str, str], ...]:
    """Return storage options as a value that can be compared; yes and no in lower case."""
    return tuple(sorted((name, _word(value)) for name, value in (options or {}).items()))


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
