"""Which snapshot a live mount shows: a small file that its workers map and only a switch changes.

A head, then a record for each epoch. The file has its full length from the start, so that a map of
it never has to grow; what was not written yet is a hole. An epoch counts from the moment that the
head says so, and that is one aligned store of 8 bytes: a switch has happened or it has not.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import tempfile
from pathlib import Path
from typing import Final

from vfs.errors import MountError
from vfs.snapshots.repository import StoredSnapshot

EPOCHS_FILE: Final = "epochs"
MAGIC: Final = b"hdrepoc1"
EPOCH_LIMIT: Final = 1 << 16
RECORD: Final = struct.Struct("<20s4xQ")
HEAD_SIZE: Final = 32
FILE_SIZE: Final = HEAD_SIZE + EPOCH_LIMIT * RECORD.size
CURRENT: Final = 1
ANNOUNCED: Final = 2
"""Which 8-byte word of the head says what; the first is the magic."""


def create_epochs(path: Path, first: StoredSnapshot) -> None:
    """Record *first* as epoch 0, unless the file is there already. It appears whole."""
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.")
    try:
        os.write(descriptor, MAGIC.ljust(HEAD_SIZE, b"\0") + _record(first))
        os.truncate(descriptor, FILE_SIZE)
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        os.close(descriptor)
        os.unlink(draft)


class Epochs:
    """The epochs of one mount, as the file says at this moment."""

    def __init__(self, path: Path) -> None:
        """Map the file at *path*. Raises MountError when it is none."""
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size != FILE_SIZE or file.read(len(MAGIC)) != MAGIC:
                raise MountError(f"{path} is no record of a mount's versions; mount anew")
            self._map = mmap.mmap(file.fileno(), FILE_SIZE, access=mmap.ACCESS_READ)
        self._words = memoryview(self._map)[:HEAD_SIZE].cast("Q")

    def close(self) -> None:
        """Unmap the file."""
        self._words.release()
        self._map.close()

    @property
    def current(self) -> int:
        """The epoch that the mount shows."""
        return self._words[CURRENT]

    @property
    def announced(self) -> int:
        """The last epoch of which the kernel was told all that it has to forget."""
        return self._words[ANNOUNCED]

    def snapshot(self, epoch: int) -> StoredSnapshot:
        """Return the snapshot that was shown in *epoch*, which is not in the future."""
        snapshot_id, size = RECORD.unpack_from(self._map, _offset_of(epoch))
        return StoredSnapshot(snapshot_id.hex(), size)


class EpochWriter(Epochs):
    """The same for the one process that switches: nobody else can be one before `close`."""

    def __init__(self, path: Path) -> None:
        """Lock and map the file. Raises MountError when another switch is going on."""
        self._file = path.open("r+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            super().__init__(path)
        except BlockingIOError:
            self._file.close()
            raise MountError("another checkout of this mount is going on; wait for it") from None
        except BaseException:
            self._file.close()
            raise
        self._head = mmap.mmap(self._file.fileno(), HEAD_SIZE)
        self._written = memoryview(self._head).cast("Q")

    def close(self) -> None:
        """Unmap and unlock the file."""
        super().close()
        self._written.release()
        self._head.close()
        self._file.close()

    def append(self, snapshot: StoredSnapshot) -> None:
        """Show *snapshot* from now on. Raises MountError when there is no room for one more."""
        epoch = self.current + 1
        if epoch == EPOCH_LIMIT:
            raise MountError(f"this mount has shown {EPOCH_LIMIT} versions; mount anew")
        # Not through the map: a full disk is an error here and would be a signal there.
        os.pwrite(self._file.fileno(), _record(snapshot), _offset_of(epoch))
        self._written[CURRENT] = epoch

    def announce(self, epoch: int) -> None:
        """Record that the kernel was told all about *epoch*."""
        self._written[ANNOUNCED] = epoch


def _record(snapshot: StoredSnapshot) -> bytes:
    return RECORD.pack(bytes.fromhex(snapshot.snapshot_id), snapshot.manifest_size)


def _offset_of(epoch: int) -> int:
    return HEAD_SIZE + epoch * RECORD.size
