"""difference: every path that differs, and no page where nothing does."""

from __future__ import annotations

import anyio
import pytest

from tests.fakes.manifests import Directory, File, MemorySource, Node, Symlink, manifest_of
from vfs.manifest.difference import difference
from vfs.manifest.inode import Kind
from vfs.manifest.tree import Tree

BASE: dict[bytes, Node] = {b"a": File(1), b"d/b": File(2), b"d/e/c": File(3), b"l": Symlink(b"a")}


def differences(
    old: dict[bytes, Node], new: dict[bytes, Node], backend: str = "trio"
) -> list[tuple[str, bytes]]:
    async def ask() -> list[tuple[str, bytes]]:
        a = await Tree.open(MemorySource(manifest_of(old)), None)
        b = await Tree.open(MemorySource(manifest_of(new)), None)
        return [(str(change.kind.value), change.path) async for change in difference(a, b)]

    return anyio.run(ask, backend=backend)


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_equal_trees_do_not_differ(backend: str) -> None:
    assert differences(BASE, dict(BASE), backend) == []


def test_a_changed_file_is_named_after_the_directories_that_hold_it() -> None:
    found = differences(BASE, BASE | {b"d/e/c": File(4)})
    assert found == [("M", b""), ("M", b"d"), ("M", b"d/e"), ("M", b"d/e/c")]


def test_an_added_directory_is_named_with_all_that_lies_in_it() -> None:
    found = differences(BASE, BASE | {b"n/x/y": File(), b"n/z": File()})
    assert found == [("M", b""), ("A", b"n"), ("A", b"n/x"), ("A", b"n/x/y"), ("A", b"n/z")]


def test_a_removed_directory_is_named_with_all_that_lay_in_it() -> None:
    found = differences(BASE | {b"n/x/y": File()}, BASE)
    assert found == [("M", b""), ("D", b"n"), ("D", b"n/x"), ("D", b"n/x/y")]


def test_what_became_another_kind_of_thing_is_removed_and_added() -> None:
    found = differences({b"p": File()}, {b"p/q": File()})
    assert found == [("M", b""), ("D", b"p"), ("A", b"p"), ("A", b"p/q")]
    found = differences({b"p/q": File()}, {b"p": Symlink(b"x")})
    assert found == [("M", b""), ("D", b"p"), ("D", b"p/q"), ("A", b"p")]


def test_a_directory_whose_own_mode_changed_is_not_descended_into() -> None:
    found = differences(
        {b"d": Directory(7), b"d/x": File()}, {b"d": Directory(7, 0o700), b"d/x": File()}
    )
    assert found == [("M", b""), ("M", b"d")]


def test_only_pages_that_hold_differences_are_read() -> None:
    many: dict[bytes, Node] = {b"%03d/%03d" % (n // 100, n % 100): File(n) for n in range(20_000)}

    async def ask() -> tuple[int, int, int]:
        a = await Tree.open(MemorySource(manifest_of(many)), None)
        b = await Tree.open(MemorySource(manifest_of(many | {b"150/050": File(1)})), None)
        found = [c async for c in difference(a, b) if c.new and c.new.kind is Kind.FILE]
        return len(found), a.pages_read, b.pages_read

    changed, *pages = anyio.run(ask, backend="trio")
    assert changed == 1
    assert pages == [4, 4]  # top index, index page, the root's page and the changed file's
