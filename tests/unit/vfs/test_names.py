"""Which keys become paths, and what becomes of the others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vfs.snapshots.names import KeyPaths, Skipped, SkipReason, component_fault


@pytest.mark.parametrize("key", ["a", "a/b/c", "a b/ü.txt", "...", ".a/..b", "a\\b", "x" * 255])
def test_ordinary_keys_are_paths(key: str) -> None:
    assert KeyPaths().path_of(key) == key.encode()


@pytest.mark.parametrize("key", ["/a", "/", "a//b", "a//", "//", "/a/b"])
def test_a_key_with_an_empty_component_is_skipped(key: str) -> None:
    assert KeyPaths().path_of(key) is SkipReason.EMPTY_COMPONENT


@pytest.mark.parametrize("key", [".", "..", "../a", "a/..", "a/./b", "a/../../etc/passwd", "../"])
def test_no_key_leads_out_of_the_root(key: str) -> None:
    assert KeyPaths().path_of(key) is SkipReason.DOT_COMPONENT


@pytest.mark.parametrize("key", ["a\0b", "a\0/b"])
def test_a_key_with_nul_is_skipped(key: str) -> None:
    assert KeyPaths().path_of(key) is SkipReason.NUL


@pytest.mark.parametrize("key", ["x" * 256, "ü" * 128, "a/" + "x" * 256 + "/b"])
def test_a_component_of_more_than_255_bytes_is_skipped(key: str) -> None:
    assert KeyPaths().path_of(key) is SkipReason.LONG_COMPONENT


def test_a_key_without_a_utf8_form_is_skipped() -> None:
    assert KeyPaths().path_of("a\ud800b") is SkipReason.NOT_ENCODABLE


def test_undecodable_bytes_of_a_key_come_back() -> None:
    assert KeyPaths().path_of("caf\udce9") == b"caf\xe9"


def test_a_key_that_ends_in_a_slash_marks_a_directory() -> None:
    paths = KeyPaths()
    assert paths.path_of("a/b/") == b"a/b/"
    assert paths.directories == {b"", b"a", b"a/b"}


def test_a_key_implies_all_directories_above_it() -> None:
    paths = KeyPaths()
    paths.path_of("a/b/c/file")
    assert paths.directories == {b"", b"a", b"a/b", b"a/b/c"}


def test_a_skipped_directory_is_skipped_again() -> None:
    paths = KeyPaths()
    assert paths.path_of("a/../b") is paths.path_of("a/../c") is SkipReason.DOT_COMPONENT
    assert paths.directories == {b""}


@given(st.lists(st.text("a./\0\udce9", max_size=8)))
def test_every_path_has_only_showable_components(keys: list[str]) -> None:
    """A reference: split the key, look at each component."""
    paths = KeyPaths()
    for key in keys:
        components = key.encode("utf-8", "surrogateescape").removesuffix(b"/").split(b"/")
        faults = [component_fault(each) for each in components]
        path = paths.path_of(key)
        if key == "":
            assert path == b""
        elif any(faults):
            assert path in faults or path is SkipReason.EMPTY_COMPONENT
        else:
            assert path == key.encode("utf-8", "surrogateescape")


def test_skipped_names_are_counted_by_reason_and_the_first_are_named() -> None:
    skipped = Skipped()
    for number in range(5):
        skipped.add(SkipReason.SPECIAL_FILE, b"pipe%d" % number)
    skipped.add(SkipReason.NUL, b"a\0\xff")
    assert list(skipped.lines()) == [
        '5 that are sockets, FIFOs or devices: "pipe0", "pipe1", "pipe2", ...',
        '1 with a NUL character in the name: "a\\x00\\xff"',
    ]


def test_a_skipped_key_implies_no_directory() -> None:
    paths = KeyPaths()
    paths.path_of("a/" + "x" * 256)
    assert paths.directories == {b""}
