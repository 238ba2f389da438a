"""Real mounts: FUSE, the cache service and its LMDB, driven through the `headrace` command."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuse.gallery import Gallery, mounted_gallery


@pytest.fixture(scope="session")
def gallery() -> Iterator[Gallery]:
    """A mount that all tests may read, none may harm."""
    with mounted_gallery() as made:
        yield made


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """An empty directory to publish, which others may enter."""
    made = tmp_path / "source"
    made.mkdir(mode=0o755)
    return made
