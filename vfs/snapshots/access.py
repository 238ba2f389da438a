"""Whether somebody may read a dataset's source: asked of object storage, for one byte of it.

That a node has every byte already tells nothing about who may see them.
"""

from __future__ import annotations

from cachesvc.errors import ObjectChangedError, ObjectMissingError
from cachesvc.objectstore.protocol import ObjectStore
from vfs.errors import SourceUnreadableError
from vfs.manifest.inode import ROOT_POSITION, Inode, Kind
from vfs.manifest.tree import Tree

PAGES_LOOKED_AT = 64
"""Of directories, in search of a file to try."""
FILES_TRIED = 3
"""What was deleted since the snapshot was made tells nothing; the next one may."""


async def check_source(store: ObjectStore, tree: Tree) -> None:
    """Read one byte of the source's first file. Raises AccessDeniedError, or what *store* raises.

    A snapshot without a byte in its source needs no leave.
    """
    missing = None
    for inode in await some_files(tree, FILES_TRIED):
        key = (await tree.path_of(inode.position)).decode("utf-8", "surrogateescape")
        try:
            await store.get_range(key, 0, 1, inode.version)
        except ObjectChangedError:
            return
        except ObjectMissingError as error:
            missing = error
        else:
            return
    if missing is not None:
        raise missing


async def some_files(tree: Tree, count: int) -> list[Inode]:
    """Return a few files with bytes in the source, all of one directory; none if there are none.

    Raises SourceUnreadableError when none is found soon, though there may be some.
    """
    pending = [(await tree.inode(ROOT_POSITION), 0)]
    for _ in range(PAGES_LOOKED_AT):
        if not pending:
            return []
        directory, start = pending.pop()
        children = await tree.children_from(directory, start)
        if found := [child for child in children if _lies_in_source(child)]:
            return found[:count]
        if children:
            pending.append((directory, start + len(children)))
        pending += [(child, 0) for child in children if child.bytes_below]
    raise SourceUnreadableError(
        f"{tree.superblock.source}: snapshot {tree.snapshot_id} has no file to try access with "
        f"in its first {PAGES_LOOKED_AT} pages"
    )


def _lies_in_source(inode: Inode) -> bool:
    return inode.kind is Kind.FILE and inode.size > 0 and inode.extents is None
