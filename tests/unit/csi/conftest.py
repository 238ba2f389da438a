"""What the driver's unit tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest


@pytest.fixture
def root() -> Iterator[Path]:
    """A directory in memory, where alone credentials may be written."""
    with TemporaryDirectory(dir="/dev/shm") as directory:
        yield Path(directory)
