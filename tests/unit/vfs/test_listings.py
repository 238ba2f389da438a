"""Directories as READDIR and READDIRPLUS tell them, in pieces of any size and over versions."""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.manifests import Directory, File, Node, Symlink
from tests.unit.vfs.test_mounted import Versions
from vfs.errors import StaleInodeError
from vfs.manifest.inode import Kind
from vfs.serving.entry import ENTRY_OUT, FOREVER_SECONDS, EntryEncoder
from vfs.serving.ino import ROOT_INO, Ino, cookie_of, epoch_of
from vfs.serving.listings import Listings
from vfs.serving.modes import Modes
from vfs.serving.protocol import ReadRequest

DIRENT = struct.Struct("<QQII")
ROOM = 4096
"""The least for which the kernel asks."""
TYPES = {Kind.DIRECTORY: 4, Kind.FILE: 8, Kind.SYMLINK: 10}
ENCODER = EntryEncoder(1000, 1001, Modes(is_open=True))
FIRST: dict[bytes, Node] = {
    b"dir": Directory(mtime_ns=1_700_000_000_123_456_789, mode=0o750),
    b"dir/file": File(size=10_000, mtime_ns=5, mode=0o600),
    b"dir/sub": Directory(),
    b"dir/sub/deep": File(1),
    b"empty": File(size=0),
    b"link": Symlink(b"dir/file"),
    b"n" * 255: File(1 << 40, 3, 0o4755),
    b"old": File(size=1, mtime_ns=-1),
}
SECOND: dict[bytes, Node] = {**FIRST, b"dir/new": File(size=7), b"more": File(size=2)}


class Told(NamedTuple):
    """An entry of a listing; `entry` is what READDIRPLUS says of it."""

    name: bytes
    ino: int
    cookie: int
    type: int
    entry: bytes


def told_in(body: bytes, *, plus: bool) -> list[Told]:
    """Take an answer apart, as the kernel does."""
    found = []
    while body:
        entry, body = (body[: ENTRY_OUT.size], body[ENTRY_OUT.size :]) if plus else (b"", body)
        ino, cookie, name_size, kind = DIRENT.unpack_from(body)
        end = DIRENT.size + name_size
        found.append(Told(body[DIRENT.size : end], ino, cookie, kind, entry))
        padded = -(-end // 8) * 8
        assert not any(body[end:padded])
        body = body[padded:]
    return found


class Mount:
    """A mount of versions of which nothing was asked yet."""

    def __init__(self, *models: dict[bytes, Node]) -> None:
        self.versions = Versions()
        self.to_come = list(models)
        self.switch()
        self.mounted = self.versions.mounted()
        self.listings = Listings(self.mounted, ENCODER)

    def switch(self) -> None:
        """Show the next version."""
        self.versions.append(self.to_come.pop(0))

    async def ino(self, *names: bytes) -> int:
        """Look a path up."""
        ino: int = ROOT_INO
        for name in names:
            found = await self.mounted.lookup(ino, name)
            assert found is not None
            ino = found[0]
        return ino

    async def piece(
        self, ino: int, cookie: int = 0, room: int = ROOM, *, plus: bool = True
    ) -> list[Told]:
        """Ask once; what is told at once has to be what is told after waiting."""
        request = ReadRequest(cookie, room)
        at_once = self.listings.list_nowait(ino, request, plus=plus)
        body = await self.listings.list(ino, request, plus=plus)
        assert at_once in (None, body)
        assert len(body) <= room
        return told_in(body, plus=plus)

    async def whole(self, ino: int, room: int = ROOM, *, plus: bool = True) -> list[Told]:
        """Ask on until there is no more."""
        entries = await self.piece(ino, 0, room, plus=plus)
        while more := await self.piece(ino, entries[-1].cookie, room, plus=plus):
            entries += more
        return entries


def playing(mount: Mount, play: Callable[[Mount], Awaitable[None]]) -> None:
    trio.run(play, mount)


async def expected(mount: Mount, ino: int) -> list[tuple[bytes, int, int, bytes]]:
    """Return name, number, type and entry of all that a directory has, found by name."""
    epoch, directory = await mount.mounted.inode(ino)
    children = await (await mount.mounted.tree(epoch)).children_from(directory, 0)
    entries: list[tuple[bytes, int, int, bytes]] = []
    for name in (b".", b"..", *(child.name for child in children)):
        found = await mount.mounted.lookup(ino, name)
        assert found is not None
        entry = ENCODER.entry(*found)
        entries.append((name, found[0], TYPES[found[1].kind], entry))
    return entries


@pytest.mark.parametrize("path", [(), (b"dir",), (b"dir", b"sub")])
@pytest.mark.parametrize("version", [0, 1])
def test_a_listing_tells_what_looking_each_name_up_does(path: list[bytes], version: int) -> None:
    async def play(mount: Mount) -> None:
        if version:
            mount.switch()
        ino = await mount.ino(*path)
        listed = await mount.whole(ino)
        told = [(each.name, each.ino, each.type, each.entry) for each in listed]
        assert told == await expected(mount, ino)
        plain = [(each.name, each.ino, each.type) for each in await mount.whole(ino, plus=False)]
        assert plain == [each[:3] for each in told]

    playing(Mount(FIRST, SECOND), play)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.binary(min_size=1, max_size=255), max_size=12),
    st.lists(st.integers(0, 1200), min_size=1, max_size=9),
    st.booleans(),
)
def test_pieces_of_any_size_make_one_listing(
    names: list[bytes], rooms: list[int], plus: bool
) -> None:
    """As many entries as fit, whole, and each leads to the next."""
    model: dict[bytes, Node] = {
        name: File(number)
        for number, name in enumerate(names)
        if not {0, 47} & set(name) and name not in (b".", b"..")
    }
    longest = 2000

    async def play(mount: Mount) -> None:
        whole = await mount.whole(ROOT_INO, 1 << 20, plus=plus)
        assert [each.name for each in whole] == [b".", b"..", *sorted(model)]
        found: list[Told] = []
        for room in [*rooms, *[longest] * len(whole)]:
            cookie = found[-1].cookie if found else 0
            piece = await mount.piece(ROOT_INO, cookie, room, plus=plus)
            found += piece
            following = whole[len(found) : len(found) + 1]
            assert size_of(piece, plus=plus) + size_of(following, plus=plus) > room or not following
        assert found == whole

    playing(Mount(model), play)


def size_of(entries: list[Told], *, plus: bool) -> int:
    sizes = [-(-(DIRENT.size + len(each.name)) // 8) * 8 for each in entries]
    return sum(sizes) + len(sizes) * ENTRY_OUT.size * plus


def test_a_listing_goes_on_over_pages_of_the_manifest() -> None:
    model: dict[bytes, Node] = {b"%05d" % number: File(number) for number in range(3000)}

    async def play(mount: Mount) -> None:
        for room in (ROOM, 1 << 20):
            names = [each.name for each in await mount.whole(ROOT_INO, room)]
            assert names == [b".", b"..", *model]

    playing(Mount(model), play)


def test_a_listing_is_told_at_once_when_its_page_is_in_memory() -> None:
    async def play(mount: Mount) -> None:
        request = ReadRequest(0, ROOM)
        assert mount.listings.list_nowait(ROOT_INO, request, plus=True) is None
        body = await mount.listings.list(ROOT_INO, request, plus=True)
        assert mount.listings.list_nowait(ROOT_INO, request, plus=True) == body

    playing(Mount(FIRST), play)


def test_after_a_switch_a_listing_is_told_at_once_when_its_numbers_are_known() -> None:
    async def play(mount: Mount) -> None:
        ino = await mount.ino(b"dir", b"sub")
        mount.switch()
        request = ReadRequest(0, ROOM)
        assert mount.listings.list_nowait(ino, request, plus=False) is None
        body = await mount.listings.list(ino, request, plus=False)
        assert mount.listings.list_nowait(ino, request, plus=False) == body

    playing(Mount(FIRST, SECOND), play)


@pytest.mark.parametrize("path", [(), (b"dir",)])
def test_a_listing_that_began_before_a_switch_ends_as_it_began(path: list[bytes]) -> None:
    """What it says of an entry is to be asked for again: it is outdated."""

    async def play(mount: Mount) -> None:
        ino = await mount.ino(*path)
        whole = await mount.whole(ino)
        mount.switch()
        rest = await mount.piece(ino, whole[0].cookie)
        assert [each[:4] for each in rest] == [each[:4] for each in whole[1:]]
        for old, each in zip(whole[1:], rest, strict=True):
            number, generation, *lifetimes = struct.unpack_from("<QQQQII", each.entry)
            assert (number, generation, *lifetimes) == (each.ino, 0, 0, 0, 0, 0)
            assert each.entry[40:] == old.entry[40:]
            assert epoch_of(each.cookie) == 0

    playing(Mount(FIRST, SECOND), play)


def test_a_listing_that_begins_after_a_switch_is_believed_for_ever() -> None:
    async def play(mount: Mount) -> None:
        ino = await mount.ino(b"dir")
        mount.switch()
        listed = await mount.whole(ino)
        assert [each.name for each in listed] == [b".", b"..", b"file", b"new", b"sub"]
        for each in listed:
            assert struct.unpack_from("<QQ", each.entry, 16) == (FOREVER_SECONDS, FOREVER_SECONDS)
            assert epoch_of(each.cookie) == 1

    playing(Mount(FIRST, SECOND), play)


@pytest.mark.parametrize(
    ("ino", "cookie"),
    [(Ino(1 << 30), 0), (Ino(1 << 63), 0), (Ino(1 << 63), 7), (ROOT_INO, cookie_of(1, 1))],
    ids=["position", "epoch", "epoch, further on", "cookie"],
)
def test_what_the_mount_never_gave_out_is_stale(ino: Ino, cookie: int) -> None:
    async def play(mount: Mount) -> None:
        with pytest.raises(StaleInodeError):
            await mount.piece(ino, cookie)

    playing(Mount(FIRST), play)


@pytest.mark.parametrize("plus", [True, False])
def test_after_the_last_entry_there_is_nothing(plus: bool) -> None:
    async def play(mount: Mount) -> None:
        for number in (7 + 2, 1 << 20, (1 << 40) - 1):
            assert await mount.piece(ROOT_INO, cookie_of(0, number), plus=plus) == []

    playing(Mount(FIRST), play)
