"""Names and attributes that can be told at once, because the pages that have them are in memory."""

from __future__ import annotations

from vfs.manifest.tree import NotLoaded
from vfs.serving.entry import ABSENT, NAME_MAX, EntryEncoder
from vfs.serving.mounted import MountedSnapshots


class Metadata:
    """Answers LOOKUP and GETATTR: the channel's `Names`."""

    def __init__(self, mounted: MountedSnapshots, encoder: EntryEncoder) -> None:
        """Tell of *mounted* what *encoder* makes of it."""
        self._mounted = mounted
        self._encoder = encoder

    def lookup_nowait(self, directory: int, name: bytes) -> bytes | None:
        """Return the entry *name* of a directory, or None when pages must be read first.

        A name that is too long is left to pyfuse3: it is no absence, but an error.
        """
        if len(name) > NAME_MAX:
            return None
        found = self._mounted.lookup_nowait(directory, name)
        if found is NotLoaded.NOT_LOADED:
            return None
        return ABSENT if found is None else self._encoder.entry(*found)

    def getattr_nowait(self, node: int) -> bytes | None:
        """Return the attributes of an inode, or None when pages must be read first."""
        found = self._mounted.inode_nowait(node)
        return None if found is None else self._encoder.attributes(node, found[1])
