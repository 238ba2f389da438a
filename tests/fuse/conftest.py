"""Real mounts: FUSE, the cache service and its LMDB, driven through the `headrace` command."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fuse.gallery import Gallery, mounted_gallery


@pytest.fixture(scope="session")
def gallery() -> Iterator[Gallery]:
    """A mount that all tests may read, none may harm."""
    with mounted_gallery() as made:
        yield made
