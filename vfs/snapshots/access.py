"""Whether somebody may read a dataset's source: asked of object storage, for one byte of it.

That a node has every byte already tells nothing about who may see them.
"""

from __future__ import annotations

from collections.abc import Sequence

from cachesvc.errors import ObjectChangedError, ObjectMissingError
from cachesvc.objectstore.protocol import ObjectStore
from vfs.errors import SourceUnreadableError
from vfs.manifest.inode import ROOT_POSITION, Inode, Kind
from vfs.manifest.stored import Place
from vfs.manifest.tree import Tree

PAGES_LOOKED_AT = 64
"""Of directories, in search of a file to try."""
FILES_TRIED = 3
"""What was deleted since the snapshot was made tells nothing; the next one may."""


SourceObject = tuple[str, str | None]
"""An object's key and version."""


async def check_source(store: ObjectStore, tree: Tree) -> None:
    """Read one byte of the source's first file. Raises AccessDeniedError, or what *store* raises.

    A snapshot without a byte in its source needs no leave.
    """
    missing = None
    for key, version in await some_objects(tree, FILES_TRIED):
        try:
            await store.get_range(key, 0, 1, version)
        except ObjectChangedError:
            return
        except ObjectMissingError as error:
            missing = error
        else:
            return
    if missing is not None:
        raise missing


async def some_objects(tree: Tree, count: int) -> list[SourceObject]:
    """Return a few objects of the source in which files of one directory lie; none if none do.

    Raises SourceUnreadableError when none is found soon, though there may be some.
    """
    pending = [(await tree.inode(ROOT_POSITION), 0)]
    for _ in range(PAGES_LOOKED_AT):
        if not pending:
            return []
        directory, start = pending.pop()
        children = await tree.children_from(directory, start)
        if found := await _objects_of(tree, children, count):
            return found
        if children:
            pending.append((directory, start + len(children)))
        pending += [(child, 0) for child in reversed(children) if child.bytes_below]
    raise SourceUnreadableError(
        f"{tree.superblock.source}: snapshot {tree.snapshot_id} has no file to try access with "
        f"in its first {PAGES_LOOKED_AT} pages"
    )


async def _objects_of(tree: Tree, inodes: Sequence[Inode], count: int) -> list[SourceObject]:
    """Return the objects of the source in which some of *inodes* lie, *count* at most."""
    found: dict[SourceObject, None] = {}
    for inode in inodes:
        if inode.kind is Kind.FILE and inode.size > 0:
            found |= dict.fromkeys(await _source_objects(tree, inode))
        if len(found) >= count:
            break
    return list(found)[:count]


async def _source_objects(tree: Tree, inode: Inode) -> list[SourceObject]:
    """Return the object of the source in which a file lies; none if it lies in the repository."""
    if inode.extent is not None:
        stored = await tree.contents.object_of(inode.extent)
        return [(stored.key, stored.version)] if stored.place is Place.SOURCE else []
    path = await tree.path_of(inode.position)
    return [(path.decode("utf-8", "surrogateescape"), inode.version)]
