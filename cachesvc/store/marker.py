"""What the last run of the cache left behind, in a small file beside it, and whether to trust it.

LMDB without syncs survives the death of its process whole, and the loss of power hardly ever. So
the marker names the boot: `dirty` of this boot means that the writer died (its bytes are there, but
are checked again on first use), `dirty` of another boot that the machine did (begin anew). Damaged
files make LMDB abort the process: two runs in a row that ended so, or while opening, begin anew.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from enum import Enum, StrEnum
from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
MAX_CRASHES = 2
MARKER_SIZE = 256


class Phase(StrEnum):
    """How far the last run came."""

    OPENING = "opening"
    DIRTY = "dirty"
    CLEAN = "clean"


class Verdict(Enum):
    """What to do with what is there."""

    KEEP = "keep"
    """Use it as it is."""
    VERIFY = "verify"
    """Use it, but check each chunk before its first use."""
    WIPE = "wipe"
    """Delete it and begin anew."""


@dataclass(frozen=True, slots=True)
class Marker:
    """The phase of a run, the boot in which it was written, and the crashes in a row before it."""

    phase: Phase
    boot_id: str
    crash_count: int = 0


def boot_id() -> str:
    """Return the kernel's name for the time since the machine started."""
    return BOOT_ID.read_text().strip()


def marker_path(directory: Path) -> Path:
    """Return where the marker of the cache in *directory* lies."""
    return directory / "marker"


def crash_log_path(directory: Path) -> Path:
    """Return the file in which a dying service leaves its last words.

    Whoever owns the process gives it to `faulthandler.enable`; content there means an abort.
    """
    return directory / "crash.log"


def read_marker(directory: Path) -> Marker | None:
    """Return what the last run left, None where that is nothing or cannot be understood."""
    try:
        fields = json.loads(marker_path(directory).read_text())
        return Marker(Phase(fields["phase"]), str(fields["boot_id"]), int(fields["crash_count"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def write_marker(directory: Path, marker: Marker) -> None:
    """Replace the marker; it is on disk when this returns.

    In place, so that a full disk does not matter; one that was torn reads as none.
    """
    fields = {
        "phase": marker.phase,
        "boot_id": marker.boot_id,
        "crash_count": marker.crash_count,
    }
    descriptor = os.open(marker_path(directory), os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        os.pwrite(descriptor, json.dumps(fields).ljust(MARKER_SIZE).encode(), 0)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    _sync_directory(directory)


def take_crash_log(directory: Path) -> bool:
    """Tell whether the last run left last words, and clear them."""
    path = crash_log_path(directory)
    if not path.exists() or path.stat().st_size == 0:
        return False
    os.truncate(path, 0)
    return True


def crashes_in_a_row(last: Marker | None, *, crash_logged: bool) -> int:
    """Return how many runs, up to the last one, ended in an abort or never finished opening."""
    if last is None:
        return 0
    crashed = crash_logged or last.phase is Phase.OPENING
    return last.crash_count + 1 if crashed else 0


def verdict(last: Marker | None, current_boot: str, crash_count: int) -> Verdict:
    """Decide what to do with the files of the run that left the marker *last*."""
    if last is None or crash_count >= MAX_CRASHES:
        return Verdict.WIPE
    if last.phase is Phase.CLEAN:
        return Verdict.KEEP
    return Verdict.VERIFY if last.boot_id == current_boot else Verdict.WIPE


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
