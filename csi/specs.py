"""The specs of live mounts, secrets included, for the case that all holders of one die at once.

Root's alone, and only in memory: where the directory is not on tmpfs nothing is written, and such a
mount has to wait for its pod to be published again.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from vfs.mounting.mountinfo import mount_table
from vfs.mounting.spec import MountSpec

log = logging.getLogger(__name__)

IN_MEMORY = frozenset({"tmpfs", "ramfs"})


class SpecFiles:
    """One file a mount, named after its key."""

    def __init__(self, directory: Path) -> None:
        """Keep them in *directory*, which is made if need be and closed to others."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.chmod(0o700)
        self._directory = directory
        self._usable = filesystem_of(directory) in IN_MEMORY
        if not self._usable:
            log.warning("%s is not on tmpfs: mounts with secrets are not made anew", directory)

    def save(self, spec: MountSpec) -> None:
        """Keep *spec* until `remove`."""
        if not self._usable:
            return
        draft = self._directory / f".{spec.key}"
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(spec.to_json())
        draft.replace(self._directory / spec.key)

    def load(self, key: str) -> MountSpec | None:
        """Return the spec of a mount, None when none was kept."""
        try:
            return MountSpec.from_json((self._directory / key).read_text())
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def remove(self, key: str) -> None:
        """Forget a mount."""
        (self._directory / key).unlink(missing_ok=True)

    def keys(self) -> list[str]:
        """Return the mounts that are kept."""
        return [path.name for path in self._directory.iterdir() if not path.name.startswith(".")]


def filesystem_of(path: Path) -> str:
    """Return the type of the file system that holds *path*, an absolute path without symlinks."""
    holding = [info for info in mount_table() if path.is_relative_to(info.mountpoint)]
    longest = max(len(info.mountpoint.parts) for info in holding)
    return [info for info in holding if len(info.mountpoint.parts) == longest][-1].filesystem
