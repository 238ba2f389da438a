"""What the service counts, under the names and with the help texts that operators see."""

from __future__ import annotations

from dataclasses import dataclass, fields

HELP = {
    "fills": "requests of clients to make chunks readable",
    "fills_failed": "of those, the ones that ended in an error",
    "chunks_wanted": "chunks that clients asked for",
    "chunks_held": "of those, the ones that were in the cache by then",
    "chunks_joined": "of those, the ones whose fetch was already under way",
    "chunks_fetched": "chunks that arrived from object storage",
    "chunks_admitted": "chunks stored in the cache",
    "chunks_evicted": "chunks evicted to make room",
    "chunks_rejected": "stored chunks dropped because their bytes did not match their checksum",
    "chunks_carried": "chunks handed to a client as bytes because they could not be cached",
    "chunks_disputed": "chunks that clients found wrong and had fetched anew",
    "chunks_touched": "reports of clients that a chunk was read from the map",
    "ranges_fetched": "ranged reads of objects that succeeded",
    "ranges_corrupt": "ranged reads whose bytes did not match the hash in the manifest",
    "bytes_fetched": "bytes that arrived from object storage",
    "reads_announced": "reads that clients said in advance they would make",
    "prefetches_dropped": "chunks that were not prefetched because too many waited",
    "commits": "batches written to the store",
    "commits_refused": "batches for which there was no room",
    "store_breaks": "times that the store became unusable and was closed",
}
"""One line for each counter of `Metrics`."""


@dataclass(slots=True)
class Metrics:
    """Counters since the service started; all only grow."""

    fills: int = 0
    fills_failed: int = 0
    chunks_wanted: int = 0
    chunks_held: int = 0
    chunks_joined: int = 0
    chunks_fetched: int = 0
    chunks_admitted: int = 0
    chunks_evicted: int = 0
    chunks_rejected: int = 0
    chunks_carried: int = 0
    chunks_disputed: int = 0
    chunks_touched: int = 0
    ranges_fetched: int = 0
    ranges_corrupt: int = 0
    bytes_fetched: int = 0
    reads_announced: int = 0
    prefetches_dropped: int = 0
    commits: int = 0
    commits_refused: int = 0
    store_breaks: int = 0

    def as_dict(self) -> dict[str, int]:
        """Return all counters by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}
