"""The directories of the node that the driver keeps, each with the owner and mode that it needs."""

from __future__ import annotations

import os
from pathlib import Path

from csi.config import DriverConfig
from csi.errors import ConfigurationError

OURS = 0


def prepare_directories(config: DriverConfig) -> None:
    """Make what is missing and give the mounter what is its own. Raises ConfigurationError."""
    for directory, owner, mode in (
        (config.source_dir, OURS, 0o711),
        (config.record_dir, OURS, 0o700),
        (config.run_dir, OURS, 0o700),
        (config.spec_dir, OURS, 0o700),
        (config.link_dir, config.mounter_uid, 0o700),
        (config.cache_dir, config.mounter_uid, 0o700),
    ):
        if directory is not None:
            _prepare(directory, owner, mode)


def _prepare(directory: Path, owner: int, mode: int) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        os.chown(directory, owner, owner)
        directory.chmod(mode)
    except OSError as error:
        raise ConfigurationError(f"cannot prepare {directory}: {error.strerror}") from error
