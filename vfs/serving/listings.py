"""The entries of directories, a reply at a time: the channel's `Directories`.

A reply ends where a page of the manifest does, if it is not full before; the kernel asks on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from vfs.manifest.inode import Inode
from vfs.manifest.siblings import Siblings
from vfs.serving.dirent import dirents, fitting, with_entries
from vfs.serving.entry import FOREVER_SECONDS, EntryEncoder
from vfs.serving.ino import cookie_of, epoch_of, position_of
from vfs.serving.mounted import MountedSnapshots, Place
from vfs.serving.protocol import ReadRequest

DOTS: Final = (b".", b"..")
"""The first entries of each listing."""
DOT_SIZES: Final = bytes(map(len, DOTS))
DOT_COUNT: Final = len(DOTS)


@dataclass(frozen=True, slots=True)
class Listing:
    """A directory as it was in the epoch in which somebody began to list it.

    `lifetime` is how long the kernel may believe its entries: not at all when it is outdated.
    """

    ino: int
    epoch: int
    directory: Inode
    lifetime: int


@dataclass(frozen=True, slots=True)
class Stretch:
    """The entries of a listing from `number` on, as far as they fit into `room` bytes."""

    number: int
    room: int
    plus: bool

    @property
    def dot_count(self) -> int:
        """How many of `.` and `..` it begins with."""
        return fitting(DOT_SIZES[self.number :], self.room, plus=self.plus)

    @property
    def first_child(self) -> int:
        """The first of the directory's children that comes after them."""
        return max(self.number - DOT_COUNT, 0)

    def child_count(self, name_sizes: bytes) -> int:
        """Return how many children fit, when their names are so long."""
        dot_sizes = DOT_SIZES[self.number :]
        count = fitting(dot_sizes + name_sizes, self.room, plus=self.plus)
        return max(count - len(dot_sizes), 0)


class Listings:
    """Answers READDIR, and READDIRPLUS, which tells what stat(2) shows of each entry as well."""

    def __init__(self, mounted: MountedSnapshots, encoder: EntryEncoder) -> None:
        """List the directories of *mounted*; *encoder* says what is told of their entries."""
        self._mounted = mounted
        self._encoder = encoder

    def list_nowait(self, ino: int, request: ReadRequest, *, plus: bool) -> bytes | None:
        """Return the same as `list`, or None when something must be read first."""
        listing = self._listing_nowait(ino, request.offset)
        if listing is None:
            return None
        stretch = Stretch(position_of(request.offset), request.size, plus)
        dots = self._dots_nowait(listing, stretch)
        children = self._mounted.children_nowait(
            listing.epoch, listing.directory, stretch.first_child, stretch.child_count
        )
        if dots is None or children is None:
            return None
        return self._body(listing, stretch, dots, *children)

    async def list(self, ino: int, request: ReadRequest, *, plus: bool) -> bytes:
        """Return a directory's entries from a cookie on, as it was when the listing began.

        What an outdated listing says of an entry the kernel has to ask for again.
        """
        listing = await self._listing(ino, request.offset)
        stretch = Stretch(position_of(request.offset), request.size, plus)
        dots = await self._dots(listing, stretch)
        children = await self._mounted.children(
            listing.epoch, listing.directory, stretch.first_child, stretch.child_count
        )
        return self._body(listing, stretch, dots, *children)

    def _listing_nowait(self, ino: int, cookie: int) -> Listing | None:
        found = self._mounted.inode_nowait(ino)
        if found is None or _is_outdated(cookie, found[0]):
            return None
        return Listing(ino, *found, FOREVER_SECONDS)

    async def _listing(self, ino: int, cookie: int) -> Listing:
        found = await self._mounted.inode(ino)
        if _is_outdated(cookie, found[0]):
            return Listing(ino, *await self._mounted.listed(ino, epoch_of(cookie)), 0)
        return Listing(ino, *found, FOREVER_SECONDS)

    def _dots_nowait(self, listing: Listing, stretch: Stretch) -> Sequence[Place] | None:
        if stretch.dot_count == 0:
            return ()
        above = self._mounted.parent_nowait(listing.epoch, listing.directory)
        return above and _dots_of(listing, stretch, above)

    async def _dots(self, listing: Listing, stretch: Stretch) -> Sequence[Place]:
        if stretch.dot_count == 0:
            return ()
        above = await self._mounted.parent(listing.epoch, listing.directory)
        return _dots_of(listing, stretch, above)

    def _body(
        self,
        listing: Listing,
        stretch: Stretch,
        dots: Sequence[Place],
        inos: Sequence[int],
        siblings: Siblings,
    ) -> bytes:
        """Return the answer: *dots*, and then *siblings*, which have the numbers *inos*."""
        dot_names = DOTS[stretch.number : stretch.number + len(dots)]
        listed = dirents(
            [*(ino for ino, _ in dots), *inos],
            [*dot_names, *siblings.names],
            [*(inode.kind for _, inode in dots), *siblings.kinds],
            cookie_of(listing.epoch, stretch.number + 1),
        )
        if not stretch.plus:
            return b"".join(listed)
        entries = [self._encoder.entry(*dot, listing.lifetime) for dot in dots]
        entries += self._encoder.entries(inos, siblings, listing.lifetime)
        return with_entries(entries, listed)


def _is_outdated(cookie: int, now: int) -> bool:
    """Say whether a listing began in another epoch than that which answers *now*."""
    return cookie != 0 and epoch_of(cookie) != now


def _dots_of(listing: Listing, stretch: Stretch, above: Place) -> Sequence[Place]:
    both = ((listing.ino, listing.directory), above)
    return both[stretch.number :][: stretch.dot_count]
