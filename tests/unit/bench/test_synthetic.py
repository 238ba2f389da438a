from __future__ import annotations

import hashlib
from collections.abc import Sequence

import anyio

from bench.synthetic import SyntheticListing, flat_path_of, listed, path_of
from vfs.snapshots.listing import Listed
from vfs.snapshots.names import KeyPaths, SkipReason


def test_all_files_are_listed_in_walk_order() -> None:
    listing = anyio.run(_batches, 10_000)
    paths = [entry.path for batch in listing for entry in batch]
    assert len(paths) == 10_000
    assert paths == sorted(set(paths))


def test_a_file_of_a_million_lies_deep_and_has_a_valid_path() -> None:
    assert path_of(999_999) == "train/0004/999/image_000999999.jpg"
    assert not isinstance(KeyPaths().path_of(path_of(999_999)), SkipReason)


def test_a_files_version_is_the_md5_of_its_content_which_is_its_path() -> None:
    entry = listed(7)
    assert entry.size == len(entry.path)
    assert entry.version == hashlib.md5(entry.path, usedforsecurity=False).hexdigest()


def test_a_flat_listing_has_all_files_in_one_directory_in_order() -> None:
    paths = [listed(number, flat_path_of).path for number in (0, 9, 10, 999_999)]
    assert paths == sorted(paths)
    assert {path.rpartition(b"/")[0] for path in paths} == {b"flat"}


async def _batches(file_count: int) -> list[Sequence[Listed]]:
    return [batch async for batch in SyntheticListing(file_count).batches()]
