"""Packing agrees with a plain dict: whatever was published before, a file's bytes are its own."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.manifests import walk
from tests.fault.publisher import Silence
from vfs.manifest.inode import Kind
from vfs.snapshots.dataset import Dataset, opened, parse_dataset
from vfs.snapshots.packplan import PackOptions
from vfs.snapshots.publish import PublishOptions, publish
from vfs.snapshots.repository import Repository

BELOW = 50
PATHS = st.sampled_from([b"a", b"b", b"c", b"d/a", b"d/b", b"e/f/a"])
CONTENTS = st.binary(max_size=BELOW + 5)
CHANGES = st.dictionaries(PATHS, CONTENTS | st.none(), max_size=4)
ORDERS = st.permutations([b"a", b"d/b", b"e/f/a"]).map(
    lambda paths: {path: rank for rank, path in enumerate(paths)}
)
PACKINGS = st.none() | st.builds(PackOptions, st.sampled_from([BELOW, 5]), ORDERS | st.just({}))
STEPS = st.lists(st.tuples(CHANGES, PACKINGS, st.booleans()), min_size=1, max_size=5)


def apply(source: Path, changes: Mapping[bytes, bytes | None], time_ns: int) -> None:
    """Write and remove files; each write has a time of its own."""
    for path, content in changes.items():
        place = source / os.fsdecode(path)
        if content is None:
            place.unlink(missing_ok=True)
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
            os.utime(place, ns=(time_ns, time_ns))


async def stored_contents(dataset: Dataset, source: Path) -> dict[bytes, bytes]:
    """Return every file's bytes, from where the snapshot says that they lie."""
    found = {}
    async with opened(dataset.repository) as store:
        tree = await Repository(store).open("main")
        for path, inode in (await walk(tree)).items():
            if inode.kind is not Kind.FILE:
                continue
            if inode.extent is None:
                found[path] = (source / os.fsdecode(path)).read_bytes()
                continue
            stored = await tree.contents.object_of(inode.extent)
            start = inode.extent.offset
            data = await store.get_range(stored.key, start, start + inode.size, None)
            found[path] = bytes(data)
    return found


@settings(max_examples=25, deadline=None)
@given(STEPS)
def test_every_file_has_its_own_bytes_whatever_was_packed_before(
    steps: list[tuple[dict[bytes, bytes | None], PackOptions | None, bool]],
) -> None:
    with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
        patch.setattr("vfs.snapshots.packplan.PACK_SIZE", 100)
        source = Path(directory) / "source"
        source.mkdir()
        dataset = parse_dataset(str(source), None, {})
        model: dict[bytes, bytes] = {}
        for number, (changes, packing, hashed) in enumerate(steps, 1):
            apply(source, changes, number)
            model = {
                path: content
                for path, content in {**model, **changes}.items()
                if content is not None
            }
            anyio.run(publish, dataset, PublishOptions(hashed=hashed, packing=packing), Silence())
            assert anyio.run(stored_contents, dataset, source) == model
