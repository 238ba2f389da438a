"""The chunk store against a dict: whatever the order of operations, restarts and crashes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TypeAlias

from hypothesis import given, settings
from hypothesis import strategies as st

from cachesvc.config import CacheConfig
from cachesvc.store.chunkstore import ChunkState, ChunkStore
from tests.fakes.chunks import bytes_of, chunk_of, new_chunk
from tests.fakes.store_check import die, require_sound

NAMES = st.sampled_from("abc")
LENGTHS = st.sampled_from([1, 4080, 9000, 65_537, 200_000])
CHUNKS = st.lists(st.tuples(NAMES, LENGTHS), min_size=1, max_size=4)
Name: TypeAlias = tuple[str, int]
Op: TypeAlias = tuple[str, list[Name]]
OPS = st.tuples(st.sampled_from(["put", "delete", "hot", "verify", "restart", "crash"]), CHUNKS)


class Played:
    """A store, and a dict of what should be in it: name to (trusted, hot)."""

    def __init__(self, directory: Path) -> None:
        self.config = CacheConfig(directory, size=32 << 20, free_floor=0, max_chunks=1000)
        self.store = ChunkStore(self.config)
        self.model: dict[Name, tuple[bool, bool]] = {}

    def put(self, names: list[Name]) -> None:
        self.store.put([new_chunk(*name) for name in names])
        for name in names:
            self.model[name] = (True, False)

    def delete(self, names: list[Name]) -> None:
        self.store.delete([chunk_of(*name) for name in names])
        for name in names:
            self.model.pop(name, None)

    def hot(self, names: list[Name]) -> None:
        self.store.mark_hot([chunk_of(*name) for name in names])
        self.model |= {name: (self.model[name][0], True) for name in names if name in self.model}

    def verify(self, names: list[Name]) -> None:
        for name in names:
            assert self.store.verify(chunk_of(*name)) == (name in self.model)
            if name in self.model:
                self.model[name] = (True, self.model[name][1])

    def restart(self, _: list[Name]) -> None:
        self.store.close()
        self.store = ChunkStore(self.config)

    def crash(self, _: list[Name]) -> None:
        die(self.store)
        self.store = ChunkStore(self.config)
        self.model = {name: (False, hot) for name, (_, hot) in self.model.items()}

    def compare(self) -> None:
        found = {
            (stored.label, stored.length): (stored.state is ChunkState.PRESENT, stored.hot)
            for stored in self.store.scan()
        }
        assert found == self.model
        for name, (trusted, _) in self.model.items():
            expected = bytes_of(*name) if trusted else None
            assert self.store.read(chunk_of(*name)) == expected


@settings(max_examples=25, deadline=None)
@given(st.lists(OPS, max_size=12))
def test_the_store_agrees_with_a_dict(ops: list[Op]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        played = Played(Path(directory))
        for verb, names in ops:
            getattr(played, verb)(names)
            played.compare()
        require_sound(played.store)
        played.store.close()
