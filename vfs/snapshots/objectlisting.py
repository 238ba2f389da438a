"""An object store's keys as paths, by the rules of `names`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence

from cachesvc.objectstore.protocol import ObjectInfo, ObjectStore
from vfs.snapshots.listing import Listed, ListedKind
from vfs.snapshots.names import KeyPaths, Skipped, SkipReason

OBJECT_MODE = 0o644
DIRECTORY_MODE = 0o755


class ObjectListing:
    """One pass over all objects of a store; it remembers the directories' names and nothing else.

    Stores list in different orders: whether a directory hides the file `a` is known at the end.
    """

    def __init__(self, store: ObjectStore, left_out: frozenset[bytes] = frozenset()) -> None:
        """List all but what lies in the directories *left_out*, given as paths."""
        self.skipped = Skipped()
        self._store = store
        self._left_out = tuple(path + b"/" for path in left_out)
        self._paths = KeyPaths()

    async def batches(self) -> AsyncIterator[Sequence[Listed]]:
        """Yield all objects whose key is a path, in the store's order and batches."""
        async for batch in self._store.list():
            yield list(self._entries(batch))

    def visible(self, batch: Sequence[Listed]) -> Iterator[Listed]:
        """Yield *batch* without the files that a directory hides."""
        directories = self._paths.directories
        for entry in batch:
            if entry.kind is ListedKind.FILE and entry.path in directories:
                self.skipped.add(SkipReason.SHADOWED, entry.path)
            else:
                yield entry

    def _entries(self, batch: Sequence[ObjectInfo]) -> Iterator[Listed]:
        path_of, left_out = self._paths.path_of, self._left_out
        for info in batch:
            path = path_of(info.key)
            if isinstance(path, SkipReason):
                self.skipped.add(path, info.key.encode("utf-8", "surrogatepass"))
            elif path.startswith(left_out):
                continue
            elif path.endswith(b"/"):
                yield self._marker(path, info)
            elif path:
                yield Listed(
                    ListedKind.FILE, path, info.size, info.mtime_ns, OBJECT_MODE, info.version
                )

    def _marker(self, path: bytes, info: ObjectInfo) -> Listed:
        if info.size:
            self.skipped.add(SkipReason.MARKER_CONTENT, path)
        return Listed(ListedKind.DIRECTORY, path[:-1], 0, info.mtime_ns, DIRECTORY_MODE)
