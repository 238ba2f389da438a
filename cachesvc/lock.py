"""The lock that makes a service the only one of its cache directory."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from cachesvc.config import CacheConfig
from cachesvc.errors import CacheBusyError, CacheUnusableError


class ServiceLock:
    """Held for as long as this object is open; the kernel lets go when the process dies."""

    def __init__(self, config: CacheConfig) -> None:
        """Make the directory if need be and take the lock.

        Raises CacheBusyError when another service has it, CacheUnusableError when none can be made.
        """
        self._path = config.lock
        try:
            config.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
            self._descriptor = os.open(self._path, flags, 0o600)
        except OSError as error:
            raise unusable_directory(config, error) from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._descriptor)
            raise CacheBusyError(
                f"another cache service holds {config.directory}; stop that one, "
                "or give this one a directory of its own"
            ) from error

    def is_in_place(self) -> bool:
        """Say whether the lock's file still lies where others look for it."""
        return _identity(self._path) == _identity(self._descriptor)

    def close(self) -> None:
        """Let go of the lock."""
        os.close(self._descriptor)


def unusable_directory(config: CacheConfig, error: OSError) -> CacheUnusableError:
    """Return the error for a directory in which nothing can be written."""
    return CacheUnusableError(
        f"the cache directory {config.directory} cannot be used: {error.strerror}; "
        "name another one with --cache-dir or HEADRACE_CACHE_DIR"
    )


def _identity(file: Path | int) -> tuple[int, int] | None:
    """Return what tells one file from another, None when there is none."""
    try:
        status = os.stat(file)
    except OSError:
        return None
    return status.st_dev, status.st_ino
