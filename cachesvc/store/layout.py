"""Where the cache's environments lie, what marks them as one, and how they are thrown away."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from cachesvc.errors import CacheUnusableError
from cachesvc.store.slab import CLASSES, SlabClass

GENERATION_KEY = b"generation"
"""Where each environment of slabs names the generation of the index that it belongs to."""

OWN_NAMES = frozenset({"index", *(slabs.name for slabs in CLASSES)})
"""What the folder of all environments may hold."""

_TRASH = "trash-"


def store_path(directory: Path) -> Path:
    """Return the folder that holds all environments of the cache in *directory*."""
    return directory / "store"


def index_path(directory: Path) -> Path:
    """Return the folder of the index environment."""
    return store_path(directory) / "index"


def slabs_path(directory: Path, slabs: SlabClass) -> Path:
    """Return the folder of the environment that holds one class of slabs."""
    return store_path(directory) / slabs.name


def data_file(environment: Path) -> Path:
    """Return the file that LMDB keeps in the folder of an environment."""
    return environment / "data.mdb"


def wipe(directory: Path) -> None:
    """Throw the environments away, all at once by a rename. Readers keep what they opened.

    Raises CacheUnusableError where somebody's own files lie in their place.
    """
    if store_path(directory).exists():
        _require_ours(store_path(directory))
        throw_away(directory, store_path(directory))


def _require_ours(store: Path) -> None:
    """Refuse a folder with anything in it that no cache makes."""
    foreign = sorted({path.name for path in store.iterdir()} - OWN_NAMES)
    if foreign:
        raise CacheUnusableError(
            f"{store} holds {foreign[0]!r}, which is no cache's: name another directory with "
            "--cache-dir or HEADRACE_CACHE_DIR"
        )


def throw_away(directory: Path, path: Path) -> None:
    """Take a folder out of the cache at once, and delete it."""
    trash = trash_path(directory)
    path.rename(trash)
    shutil.rmtree(trash, ignore_errors=True)


def trash_path(directory: Path) -> Path:
    """Return a new name for something that the next start may delete."""
    return directory / f"{_TRASH}{os.urandom(16).hex()}"


def empty_trash(directory: Path) -> None:
    """Delete what was thrown away, also by a run that did not live to delete it."""
    for path in directory.glob(_TRASH + "[0-9a-f]" * 32):
        shutil.rmtree(path, ignore_errors=True)


def pid_namespace() -> int:
    """Return what tells this process's PID namespace from others."""
    return Path("/proc/self/ns/pid").stat().st_ino
