"""All publish records, in memory for whoever looks and on disk for the next life of the driver."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from csi.inflight import to_the_end
from csi.state import PublishRecord, RecordFiles
from csi.threads import Threads

DISK_SECONDS = 10.0


class Ledger:
    """The records of this node, one a target. Belongs to one event loop."""

    def __init__(self, files: RecordFiles, threads: Threads) -> None:
        """Begin empty; `load` reads what is on disk."""
        self._files = files
        self._threads = threads
        self._records: dict[Path, PublishRecord] = {}

    async def load(self) -> None:
        """Take in what earlier lives wrote."""
        found = await self._threads.run("read records", self._files.read_all, DISK_SECONDS)
        self._records = {record.target: record for record in found}

    def records(self) -> list[PublishRecord]:
        """Return all of them."""
        return list(self._records.values())

    def at(self, target: Path) -> PublishRecord | None:
        """Return the record of *target*."""
        return self._records.get(target)

    async def save(self, record: PublishRecord) -> None:
        """Write *record*; when this returns it outlives the driver. Raises UnavailableError."""
        call = partial(self._files.write, record)
        await to_the_end(self._threads.run("write a record", call, DISK_SECONDS))
        self._records[record.target] = record

    async def forget(self, volume_id: str, target: Path) -> None:
        """Remove what is recorded of a volume at a target, if anything. Raises UnavailableError."""
        call = partial(self._files.remove, volume_id, target)
        await to_the_end(self._threads.run("remove a record", call, DISK_SECONDS))
        self._records.pop(target, None)
