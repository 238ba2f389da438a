"""Whether a dataset's source may be read is tried on a file of it."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from cachesvc.errors import AccessDeniedError, HeadraceError, ObjectChangedError, ObjectMissingError
from tests.fakes.manifests import Directory, File, Node, Symlink, asked, manifest_of, written
from tests.fakes.memory_store import MemoryStore
from vfs.errors import SourceUnreadableError
from vfs.manifest.builder import ManifestBuilder
from vfs.manifest.inode import ROOT_POSITION, Extent
from vfs.manifest.packing import Packing
from vfs.manifest.stored import Place, StoredObject
from vfs.manifest.tree import Tree
from vfs.snapshots.access import FILES_TRIED, PAGES_LOOKED_AT, check_source

PAGE = 1024


class AnsweringStore(MemoryStore):
    """Knows for each key which error it answers a read with; None is a byte."""

    def __init__(self, answers: Mapping[str, HeadraceError | None]) -> None:
        super().__init__()
        self.answers = answers
        self.asked: list[tuple[str, int, int]] = []

    async def get_range(self, key: str, start: int, stop: int, version: str | None) -> bytes:
        self.asked.append((key, start, stop))
        if (error := self.answers[key]) is not None:
            raise error
        return b"x"


def tried(nodes: Mapping[bytes, Node], answers: Mapping[str, HeadraceError | None]) -> list[str]:
    """Check a source and return which keys were asked for."""
    return tried_in(manifest_of(nodes), answers)


def tried_in(manifest: bytes, answers: Mapping[str, HeadraceError | None]) -> list[str]:
    store = AnsweringStore(answers)

    async def question(tree: Tree) -> None:
        await check_source(store, tree)

    asked(manifest, question)
    assert all((start, stop) == (0, 1) for _, start, stop in store.asked)
    return [key for key, _, _ in store.asked]


def test_one_byte_of_the_first_file_with_bytes_is_read() -> None:
    nodes: dict[bytes, Node] = {b"a/b/c": File(9), b"a/empty": File(0), b"d": Directory()}
    assert tried(nodes, {"a/b/c": None}) == ["a/b/c"]


def test_of_several_directories_the_first_is_looked_into() -> None:
    nodes: dict[bytes, Node] = {b"a/x": File(1), b"b/x": File(1), b"c": File(0)}
    assert tried(nodes, {"a/x": None}) == ["a/x"]


def test_who_is_denied_it_is_denied_all() -> None:
    with pytest.raises(AccessDeniedError):
        tried({b"a": File(1), b"b": File(1)}, {"a": AccessDeniedError("no"), "b": None})


def test_an_object_that_changed_was_shown_to_somebody_who_may_read() -> None:
    assert tried({b"a": File(1)}, {"a": ObjectChangedError("other")}) == ["a"]


def test_of_missing_objects_some_are_tried_and_they_prove_nothing() -> None:
    names = [f"f{number}" for number in range(FILES_TRIED + 1)]
    missing = ObjectMissingError("gone")
    answers: dict[str, HeadraceError | None] = dict.fromkeys(names, missing)
    nodes: dict[bytes, Node] = {name.encode(): File(1) for name in names}
    with pytest.raises(ObjectMissingError):
        tried(nodes, answers)
    assert tried(nodes, {**answers, names[1]: None}) == names[:2]


def test_a_snapshot_without_bytes_needs_no_leave() -> None:
    assert tried({b"a": File(0), b"s": Symlink(b"a"), b"d/e": File(0)}, {}) == []


def test_a_file_behind_pages_of_empty_ones_is_found() -> None:
    nodes: dict[bytes, Node] = {b"%05d" % number: File(0) for number in range(2 * PAGE)}
    assert tried({**nodes, b"last": File(1)}, {"last": None}) == ["last"]


def test_a_file_that_is_not_found_soon_is_no_leave() -> None:
    deep = b"/".join([b"d"] * (PAGES_LOOKED_AT + 1))
    with pytest.raises(SourceUnreadableError, match="no file to try"):
        tried({deep + b"/file": File(1)}, {})


def packed_in(place: Place) -> bytes:
    """Return a manifest of one file, a run of an object."""
    builder = ManifestBuilder()
    builder.add_file(b"member", 20, 7, 0o644, "v")
    packing = Packing()
    number = packing.add_object(StoredObject(place, "shard.tar", 100, "v1", 4096))
    packing.place(ROOT_POSITION + 1, Extent(number, 10, 20))
    return written(builder, packing=packing)[1]


def test_of_files_in_an_object_of_the_source_that_object_is_read() -> None:
    assert tried_in(packed_in(Place.SOURCE), {"shard.tar": None}) == ["shard.tar"]
    with pytest.raises(AccessDeniedError):
        tried_in(packed_in(Place.SOURCE), {"shard.tar": AccessDeniedError("no")})


def test_what_was_packed_into_the_repository_is_not_the_sources() -> None:
    assert tried_in(packed_in(Place.REPOSITORY), {}) == []
