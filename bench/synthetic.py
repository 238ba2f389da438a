"""A dataset of any size of which hardly a file exists: `python -m bench.synthetic N SOURCE REPO`.

Publishes a listing of N made-up files and prints as JSON what that took; a process of its own, so
that its peak memory is that of one publication. A file's content is its own path: those that are to
be read can be put in place one by one. With the word `flat` at the end all lie in one directory.
"""

from __future__ import annotations

import hashlib
import json
import resource
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import TypeAlias

import anyio

from vfs.snapshots.dataset import Dataset, opened, parse_dataset
from vfs.snapshots.listing import BATCH_COUNT, Listed, ListedKind
from vfs.snapshots.names import Skipped
from vfs.snapshots.publish import Publication, Published, PublishOptions, Step
from vfs.snapshots.repository import Repository

FILES_IN_DIRECTORY = 200
DIRECTORIES_IN_DIRECTORY = 1000
MTIME_NS = 1_700_000_000_000_000_000
FLAT = "flat"
Place: TypeAlias = Callable[[int], str]
"""Says where a file lies, given its number in walk order."""


def path_of(number: int) -> str:
    """Return the path, and so the content, of the file *number* in walk order."""
    directory = number // FILES_IN_DIRECTORY
    high, low = divmod(directory, DIRECTORIES_IN_DIRECTORY)
    return f"train/{high:04}/{low:03}/image_{number:09}.jpg"


def flat_path_of(number: int) -> str:
    """Return the path of the same file where all lie in one directory."""
    return f"{FLAT}/image_{number:09}.jpg"


class SyntheticListing:
    """As an object store would list it (`vfs.snapshots.listing.Listing`)."""

    def __init__(self, file_count: int, place: Place = path_of) -> None:
        """List *file_count* files, each at its *place*."""
        self.skipped = Skipped()
        self._file_count = file_count
        self._place = place

    async def batches(self) -> AsyncIterator[Sequence[Listed]]:
        """Yield all files."""
        for start in range(0, self._file_count, BATCH_COUNT):
            stop = min(start + BATCH_COUNT, self._file_count)
            yield [listed(number, self._place) for number in range(start, stop)]

    def visible(self, batch: Sequence[Listed]) -> Iterator[Listed]:
        """Yield all of *batch*: nothing hides anything here."""
        yield from batch


def listed(number: int, place: Place = path_of) -> Listed:
    """Return one file as S3 would list it: its version is the md5 of its content."""
    content = place(number).encode()
    etag = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return Listed(ListedKind.FILE, content, len(content), MTIME_NS, 0o644, etag)


class Silence:
    """Tells nobody how far publishing has come."""

    def begin(self, step: Step, total: int | None) -> None:
        """Ignore it."""

    def advance(self, amount: int) -> None:
        """Ignore it."""


async def publish(dataset: Dataset, listing: SyntheticListing) -> Published:
    """Publish a listing as the ref main of *dataset*."""
    async with opened(dataset.source) as store, opened(dataset.repository) as snapshots:
        repository = Repository(snapshots)
        return await Publication(store, listing, repository, PublishOptions(), Silence()).run()


def main(file_count: int, source: str, repository: str, shape: str = "") -> None:
    """Publish, and print what it took."""
    started = time.perf_counter()
    dataset = parse_dataset(source, repository, {})
    listing = SyntheticListing(file_count, flat_path_of if shape == FLAT else path_of)
    published = anyio.run(publish, dataset, listing, backend="asyncio")
    seconds = time.perf_counter() - started
    print(
        json.dumps(
            {
                "listing_seconds": published.listing_seconds,
                "publish_seconds": seconds - published.listing_seconds,
                "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
                "manifest_bytes": published.written.size,
            }
        )
    )


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
