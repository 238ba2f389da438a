"""What publishing parks on disk, listing and manifest, in files that are gone when it ends."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from vfs.errors import ScratchError
from vfs.snapshots.listing import Listed, ListedKind


class Spool:
    """Entries in an unlinked temporary file, so that a listing's length costs no memory.

    Nothing is left behind, however the process ends. Pickled, since nobody else can write the file,
    and as plain tuples: 0.4 us an entry each way. Whoever opens it closes it.
    """

    def __init__(self) -> None:
        """Open the file; raises OSError when there is no room for one."""
        self._file = tempfile.TemporaryFile(prefix="headrace-listing-")  # noqa: SIM115 - see close
        self._batch_count = 0
        self.entry_count = 0
        self.file_bytes = 0

    def close(self) -> None:
        """Close the file, and with it all that was in it."""
        self._file.close()

    def append(self, batch: Sequence[Listed]) -> None:
        """Add a batch at the end."""
        pickle.dump([tuple(entry) for entry in batch], self._file, pickle.HIGHEST_PROTOCOL)
        self._batch_count += 1
        self.entry_count += len(batch)
        self.file_bytes += sum(entry.size for entry in batch if entry.kind is ListedKind.FILE)

    def batches(self) -> Iterator[list[Listed]]:
        """Yield all batches in the order they came."""
        self._file.seek(0)
        for _ in range(self._batch_count):
            yield [Listed._make(entry) for entry in pickle.load(self._file)]


@contextmanager
def scratch_space() -> Iterator[None]:
    """Turn what goes wrong with temporary files into an error that says so."""
    try:
        yield
    except OSError as exc:
        raise ScratchError(f"temporary files: {exc}; make room or set TMPDIR") from exc


@contextmanager
def temporary_path() -> Iterator[Path]:
    """Give a path to an unlinked temporary file: however this process ends, it is gone."""
    with tempfile.TemporaryFile(prefix="headrace-manifest-") as file:
        yield Path(f"/proc/self/fd/{file.fileno()}")
