"""Asking a manifest from threads: what is missing is fetched without the lock, and only once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractContextManager, nullcontext

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from cachesvc.chunk import Span
from cachesvc.client import CacheClient
from tests.fakes.manifests import File, manifest_of
from vfs.errors import ManifestDamagedError
from vfs.inprocess.questions import MappedManifest, Piece, Questions, finished
from vfs.manifest.inode import Inode
from vfs.manifest.tree import Tree
from vfs.snapshots.repository import StoredSnapshot

NODES = {b"d%02d/f%03d" % (n % 40, n): File(size=n) for n in range(3000)}


class NothingMapped(CacheClient):
    """A cache whose map has nothing: every piece must be fetched."""

    def __init__(self) -> None:
        pass

    def hits(
        self, spans: Sequence[Span], *, waits: bool = True
    ) -> AbstractContextManager[list[memoryview] | None]:
        return nullcontext(None)


class Fetches:
    """Where pieces come from: a manifest in memory; what is in `damaged` comes wrong once."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.pieces: list[Piece] = []
        self.damaged: set[int] = set()
        self.questions: Questions | None = None

    def fetch(self, piece: Piece) -> bytes:
        assert self.questions is not None
        with self.questions.lock:  # nobody holds it
            self.pieces.append(piece)
        data = self.data[piece.start : piece.stop]
        if piece.bad is None and piece.start in self.damaged:
            return data[:-1] + bytes([data[-1] ^ 1])
        return data


@pytest.fixture(scope="module")
def data() -> bytes:
    return manifest_of(NODES)


def asking(data: bytes) -> tuple[Questions, Fetches]:
    fetches = Fetches(data)
    manifest = MappedManifest(NothingMapped(), "file:///x", StoredSnapshot("0" * 40, len(data)))
    fetches.questions = Questions(manifest, fetches.fetch)
    return fetches.questions, fetches


def opened(questions: Questions, cache_size: int = 1 << 24) -> Tree:
    return questions.ask(lambda: Tree.open(questions.manifest, None, cache_size))


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 2999), max_size=10))
def test_every_answer_is_the_manifests(data: bytes, numbers: list[int]) -> None:
    """Whatever is asked in whatever order is found, each page fetched once."""
    questions, fetches = asking(data)
    tree = opened(questions)
    for number in numbers:
        found = questions.ask(resolving(tree, b"d%02d/f%03d" % (number % 40, number)))
        assert found is not None
        assert found.size == number
    assert len(fetches.pieces) == len(set(fetches.pieces))


def test_damage_on_the_way_is_fetched_anew(data: bytes) -> None:
    """A piece that came wrong is asked for again, with what was wrong."""
    questions, fetches = asking(data)
    tree = opened(questions)
    before = len(fetches.pieces)
    fetches.damaged = set(range(len(data)))
    found = questions.ask(lambda: tree.inode(3000))
    assert found.position == 3000
    again = [piece for piece in fetches.pieces[before:] if piece.bad is not None]
    assert len(again) * 2 == len(fetches.pieces) - before


def test_damage_that_stays_is_an_error(data: bytes) -> None:
    """It is told, and the next question is answered."""
    questions, fetches = asking(data)
    tree = opened(questions)
    right = fetches.data
    fetches.data = right[:-40] + bytes(40)
    with pytest.raises(ManifestDamagedError):
        questions.ask(lambda: tree.inode(3000))
    fetches.data = right
    assert questions.ask(lambda: tree.inode(3000)).position == 3000


def test_threads_get_right_answers_though_memory_is_short(data: bytes) -> None:
    """Threads that push each other's pages out of memory still get theirs."""
    questions, _ = asking(data)
    tree = opened(questions, cache_size=1)
    wrong: list[object] = []

    def ask(first: int) -> None:
        for number in range(first, 3000, 7):
            found = questions.ask(resolving(tree, b"d%02d/f%03d" % (number % 40, number)))
            wrong.extend([number] if found is None or found.size != number else [])

    threads = [threading.Thread(target=ask, args=(first,)) for first in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == []


def resolving(tree: Tree, path: bytes) -> Callable[[], Coroutine[None, None, Inode | None]]:
    return lambda: tree.resolve(path)


def test_a_question_must_not_wait() -> None:
    """A coroutine that waits for something else is a mistake, and says so."""

    async def wait() -> None:
        await trio.lowlevel.checkpoint()

    with pytest.raises(RuntimeError, match="waited"):
        finished(wait())
