"""Where LMDB's values lie in its file, beside what LMDB itself shows."""

from __future__ import annotations

import os
import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachesvc.errors import CacheDamagedError
from cachesvc.store.lmdbenv import open_writer, writing
from cachesvc.store.slab import PAGE_HEADER_SIZE
from cachesvc.store.valuepages import value_pages
from cachesvc.units import MIB

KEYS = st.binary(min_size=1, max_size=40)
OWN_PAGE, IN_TREE = 4080, 100
"""Sizes of values: with a page of its own, and within the tree."""
Changes = list[tuple[bytes, int | None]]
"""Keys with the size of what is stored there, None for what is deleted; one commit each."""


def written(directory: Path, changes: Changes) -> dict[bytes, bytes]:
    """Make an environment by *changes* and return what is in it."""
    content: dict[bytes, bytes] = {}
    env = open_writer(directory, 64 * MIB, readahead=False)
    for key, size in changes:
        with writing(env) as txn:
            if size is None:
                txn.delete(key)
                content.pop(key, None)
            else:
                content[key] = os.urandom(size)
                txn.put(key, content[key])
    env.close()
    return content


def found(path: Path, content: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """Return what lies where the values are said to lie."""
    with path.open("rb") as file:
        pages = list(value_pages(path))
        assert pages == sorted(pages)
        return {
            key: os.pread(file.fileno(), len(content[key]), offset + PAGE_HEADER_SIZE)
            for key, offset in pages
        }


@given(st.lists(st.tuples(KEYS, st.sampled_from([None, IN_TREE, OWN_PAGE, 9000])), max_size=40))
def test_values_lie_where_it_is_said(changes: Changes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        content = written(Path(directory), changes)
        there = {key: value for key, value in content.items() if len(value) >= OWN_PAGE}
        assert found(Path(directory, "data.mdb"), content) == there


def test_a_tree_of_several_levels(tmp_path: Path) -> None:
    chance = random.Random(1)
    content: dict[bytes, bytes] = {}
    env = open_writer(tmp_path, 64 * MIB, readahead=False)
    with writing(env) as txn:
        for _ in range(9000):
            key = chance.randbytes(26)
            content[key] = chance.randbytes(OWN_PAGE)
            txn.put(key, content[key])
    assert env.stat()["depth"] == 3
    env.close()
    assert found(tmp_path / "data.mdb", content) == content


def test_a_file_that_was_cut_short_is_damaged(tmp_path: Path) -> None:
    written(tmp_path, [(bytes([number]), OWN_PAGE) for number in range(9)])
    path = tmp_path / "data.mdb"
    os.truncate(path, 3 * 4096)
    with pytest.raises(CacheDamagedError, match="pages that are none of LMDB's"):
        list(value_pages(path))


def test_a_page_of_another_number_is_damage(tmp_path: Path) -> None:
    written(tmp_path, [(bytes([number]), OWN_PAGE) for number in range(9)])
    path = tmp_path / "data.mdb"
    (first, _) = next(value_pages(path))
    content = bytearray(path.read_bytes())
    tree = [
        at
        for at in range(0, len(content), 4096)
        if is_leaf_with(bytes(content[at : at + 4096]), first)
    ]
    for at in tree:
        content[at : at + 8] = (7777).to_bytes(8, "little")
    path.write_bytes(content)
    with pytest.raises(CacheDamagedError):
        list(value_pages(path))


def test_a_tree_that_leads_into_itself_is_damage(tmp_path: Path) -> None:
    written(tmp_path, [(number.to_bytes(4, "big"), OWN_PAGE) for number in range(300)])
    path = tmp_path / "data.mdb"
    content = bytearray(path.read_bytes())
    for at in (at for at in range(2 * 4096, len(content), 4096) if is_branch(content, at)):
        node = at + int.from_bytes(content[at + 16 : at + 18], "little")
        content[node : node + 4] = (at // 4096).to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(CacheDamagedError):
        list(value_pages(path))


def is_branch(content: bytearray, at: int) -> bool:
    """Say whether a page that leads to others begins there."""
    own_number = int.from_bytes(content[at : at + 8], "little")
    return own_number == at // 4096 and content[at + 10] == 1


def is_leaf_with(page: bytes, key: bytes) -> bool:
    """Say whether a page is one of the tree's lowest and holds a key."""
    return page[10] == 2 and key in page


@pytest.mark.parametrize("content", [b"", b"x" * 9000])
def test_a_file_that_is_none_of_lmdbs_is_damaged(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "data.mdb"
    path.write_bytes(content)
    with pytest.raises(CacheDamagedError):
        list(value_pages(path))
