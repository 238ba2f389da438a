"""A snapshot as an fsspec filesystem, `headrace`. This module alone knows what fsspec wants."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from fsspec.spec import AbstractFileSystem, make_instance

from cachesvc.config import CacheConfig
from cachesvc.errors import HeadraceError, UsageError
from cachesvc.options import default_directory
from vfs.inprocess.content import STEP_BYTES, Content, FileRange
from vfs.inprocess.errors import oserror_of, raising_oserror
from vfs.inprocess.file import SnapshotFile
from vfs.inprocess.info import info_of, link_info_of
from vfs.inprocess.namespace import error_at
from vfs.inprocess.opened import OpenSnapshot, opened
from vfs.inprocess.spec import DatasetSpec, options_of
from vfs.manifest.inode import Inode, Kind
from vfs.snapshots.repository import StoredSnapshot

DEADLINE_SECONDS = 60.0


class HeadraceFileSystem(AbstractFileSystem):  # type: ignore[misc]  # fsspec has no types
    """One snapshot of a dataset, read-only, through the node's cache.

    It shows one snapshot for ever, in its copies in other processes too. It may be pickled, used
    by many threads, and used on both sides of a fork. Paths are those of the snapshot's root.
    """

    protocol = "headrace"
    root_marker = ""

    def __init__(
        self,
        dataset: str | None = None,
        *,
        repo: str | None = None,
        storage_options: Mapping[str, object] | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        cache_size: int | None = None,
        deadline_seconds: float = DEADLINE_SECONDS,
        fo: str | None = None,
        target_protocol: str | None = None,
        target_options: Mapping[str, object] | None = None,
        snapshot: tuple[str, int] | None = None,
        **_: object,
    ) -> None:
        """Look up which snapshot `SOURCE[@SNAPSHOT]`, given as *dataset*, means now.

        *fo*, *target_protocol* and *target_options* say the same in chained URLs. A pickled copy
        names its *snapshot* by id and manifest size. Raises HeadraceError leaves.
        """
        super().__init__()
        directory = Path(cache_dir) if cache_dir else default_directory()
        cache = CacheConfig(directory.absolute())
        self._spec = DatasetSpec(
            dataset or _chained(fo, target_protocol),
            repo,
            options_of(storage_options or target_options),
            cache if cache_size is None else CacheConfig(cache.directory, cache_size),
            deadline_seconds,
        )
        self._found = StoredSnapshot(*snapshot) if snapshot else self._spec.find()
        self._held: OpenSnapshot | None = None

    @property
    def snapshot_id(self) -> str:
        """The id of the snapshot that is shown."""
        return self._found.snapshot_id

    @property
    def fsid(self) -> str:
        """The same for every filesystem that shows this snapshot."""
        return f"headrace-{self.snapshot_id}"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle what names the snapshot; credentials go along as they were given."""
        snapshot = (self._found.snapshot_id, self._found.manifest_size)
        options = {**self.storage_options, "snapshot": snapshot}
        return make_instance, (type(self), self.storage_args, options)

    def __eq__(self, other: object) -> bool:
        """Say whether *other* shows the same snapshot by the same means."""
        if not isinstance(other, HeadraceFileSystem):
            return NotImplemented
        return (self._spec, self._found) == (other._spec, other._found)

    def __hash__(self) -> int:
        """Be equal for what is equal."""
        return hash((self._spec, self._found))

    def connect(self) -> OpenSnapshot:
        """Return the snapshot as this process has it open."""
        held = self._held
        if held is None or held.is_gone:
            held = self._held = opened(self._spec, self._found)
        return held

    def close(self) -> None:
        """Let go of the cache; whoever uses the snapshot again connects anew."""
        if self._held is not None:
            self._held.close()

    # Names

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:  # noqa: ANN401 - a path or a list of them
        if isinstance(path, list):
            return [cls._strip_protocol(each) for each in path]
        return str(super()._strip_protocol(path)).strip("/")

    @raising_oserror
    def info(self, path: str, **_: object) -> dict[str, Any]:
        """Return name, size, type and times of what lies at *path*."""
        name = self._strip_protocol(path)
        return self._described(name, self.connect().names.entry(name))

    @raising_oserror
    def ls(self, path: str, detail: bool = True, **_: object) -> list[Any]:
        """Return what a directory holds, sorted, or the one file at *path*."""
        name = self._strip_protocol(path)
        names = self.connect().names
        inode = names.inode(name)
        if inode.kind is not Kind.DIRECTORY:
            return [self.info(name) if detail else name]
        above = f"{name}/" if name else ""
        found = [
            (above + os.fsdecode(child.name), child)
            for batch in names.children(inode)
            for child in batch
        ]
        if not detail:
            return [path for path, _ in found]
        return [self._listed(path, child) for path, child in found]

    def walk(
        self,
        path: str,
        maxdepth: int | None = None,
        topdown: bool = True,
        on_error: str | Callable[[OSError], object] = "omit",
        **kwargs: object,
    ) -> Iterator[tuple[str, Any, Any]]:
        """Yield directories with what they hold; only what is missing may be omitted."""
        handler = _omit_missing if on_error == "omit" else on_error
        yield from super().walk(path, maxdepth, topdown, handler, **kwargs)

    def find(
        self,
        path: str,
        maxdepth: int | None = None,
        withdirs: bool = False,
        detail: bool = False,
        **kwargs: object,
    ) -> Any:  # noqa: ANN401 - a list, or with details a dict
        """Return the files below *path*, sorted. Without details no dict is made for each."""
        if withdirs or detail or maxdepth is not None:
            found = super().find(path, maxdepth, withdirs, True, **kwargs)
            files = {n: told for n, told in found.items() if withdirs or told["type"] == "file"}
            return files if detail else list(files)
        return sorted(self._files_below(self._strip_protocol(path)))

    @raising_oserror
    def _files_below(self, name: str) -> list[str]:
        kind = self._kind_at(name)
        if kind is not Kind.DIRECTORY:
            return [name] if kind is Kind.FILE else []
        names = self.connect().names
        found: list[str] = []
        pending = [(f"{name}/" if name else "", names.inode(name))]
        while pending:
            above, directory = pending.pop()
            for batch in names.children(directory):
                for child in batch:
                    path = above + os.fsdecode(child.name)
                    if child.kind is Kind.DIRECTORY:
                        pending.append((path + "/", child))
                    elif child.kind is Kind.FILE or self._kind_at(path) is Kind.FILE:
                        found.append(path)
        return found

    def exists(self, path: str, **_: object) -> bool:
        """Say whether *path* leads to something."""
        return self._kind_at(path) is not None

    def isdir(self, path: str) -> bool:
        """Say whether *path* leads to a directory."""
        return self._kind_at(path) is Kind.DIRECTORY

    def isfile(self, path: str) -> bool:
        """Say whether *path* leads to a file."""
        return self._kind_at(path) is Kind.FILE

    def modified(self, path: str) -> datetime:
        """Return when the file was last changed, as its source told."""
        return datetime.fromtimestamp(self.info(path)["mtime"], tz=UTC)

    def ukey(self, path: str) -> str:
        """Return what is the same, in any snapshot, as long as the file's content is."""
        name = self._strip_protocol(path)
        inode = self._file(name)
        tale = f"{self.connect().source}\0{name}".encode("utf-8", "surrogateescape")
        return hashlib.blake2b(tale + inode.digest, digest_size=16).hexdigest()

    def checksum(self, path: str) -> int:
        """Return `ukey` as a number."""
        return int(self.ukey(path), 16)

    # Bytes

    def _open(self, path: str, mode: str = "rb", **_: object) -> SnapshotFile:
        if mode != "rb":
            self._refuse(path)
        return SnapshotFile(self._content, self._file(path), path)

    @raising_oserror
    def cat_file(
        self, path: str, start: int | None = None, end: int | None = None, **_: object
    ) -> bytes:
        """Return a file's bytes, or those from *start* to *end*, counted as in a slice."""
        name = self._strip_protocol(path)
        wanted = self._range(name, start, end)
        if wanted.stop - wanted.start <= STEP_BYTES:
            return self._content().read(wanted)
        with self._open(name) as file:  # it reads ahead
            file.seek(wanted.start)
            return file.read(wanted.stop - wanted.start)

    def cat(
        self,
        path: str | list[str],
        recursive: bool = False,
        on_error: str = "raise",
        **_: object,
    ) -> Any:  # noqa: ANN401 - bytes, or of many a dict
        """Return the bytes of one file, or of many by path; many are fetched at a time."""
        paths = self.expand_path(path, recursive=recursive)
        if isinstance(path, str) and paths == [self._strip_protocol(path)]:
            return self.cat_file(path)
        found = zip(paths, self._cat_many([(each, None, None) for each in paths]), strict=True)
        kept = ((name, _checked(data, on_error)) for name, data in found)
        return {name: data for name, data in kept if on_error != "omit" or isinstance(data, bytes)}

    def cat_ranges(
        self,
        paths: list[str],
        starts: list[int | None] | int | None,
        ends: list[int | None] | int | None,
        max_gap: int | None = None,
        on_error: str = "return",
        **_: object,
    ) -> list[Any]:
        """Return ranges of files; many are fetched at a time. No gap needs to be bridged."""
        each_start = starts if isinstance(starts, list) else [starts] * len(paths)
        each_end = ends if isinstance(ends, list) else [ends] * len(paths)
        wanted = list(zip(paths, each_start, each_end, strict=True))
        return [_checked(found, on_error) for found in self._cat_many(wanted)]

    def announce(self, paths: Iterable[str]) -> None:
        """Have files fetched in this order, which replaces what was announced before.

        Returns at once; another thread goes through *paths*, and passes over what is not there.
        """
        places = (self._place(path, None, None) for path in paths)
        self.connect().announcer.announce(place for place in places if isinstance(place, FileRange))

    def _cat_many(
        self, wanted: Sequence[tuple[str, int | None, int | None]]
    ) -> Iterator[bytes | OSError]:
        """Yield the bytes of each path's range, or why they cannot be had."""
        places = [self._place(*each) for each in wanted]
        ranges = [place for place in places if isinstance(place, FileRange)]
        read = self._content().read_many(ranges)
        for place in places:
            found = next(read) if isinstance(place, FileRange) else place
            yield oserror_of(found) if isinstance(found, HeadraceError) else found

    def _place(self, path: str, start: int | None, end: int | None) -> FileRange | OSError:
        try:
            return self._range(self._strip_protocol(path), start, end)
        except OSError as error:
            return error

    # What there is at a path

    def _content(self) -> Content:
        return self.connect().content

    @raising_oserror
    def _file(self, name: str) -> Inode:
        inode = self.connect().names.inode(name)
        if inode.kind is not Kind.FILE:
            raise error_at(errno.EISDIR, name)
        return inode

    def _range(self, name: str, start: int | None, end: int | None) -> FileRange:
        inode = self._file(name)
        first, stop, _ = slice(start, end).indices(inode.size)
        return FileRange(inode.position, first, max(first, stop))

    @raising_oserror
    def _kind_at(self, path: str) -> Kind | None:
        try:
            return self.connect().names.inode(self._strip_protocol(path)).kind
        except OSError:  # ours are not yet translated: the path leads nowhere
            return None

    def _described(self, path: str, inode: Inode) -> dict[str, Any]:
        """Describe what is at *path*; a symlink as what it leads to."""
        if inode.kind is not Kind.SYMLINK:
            return info_of(path, inode)
        try:
            target = self.connect().names.followed(path)
        except OSError:
            target = None
        return link_info_of(path, inode, target)

    def _listed(self, path: str, inode: Inode) -> dict[str, Any]:
        """Describe an entry of a directory. Whoever walks must not follow links to directories."""
        told = self._described(path, inode)
        is_way = told["islink"] and told["type"] == "directory"
        return {**told, "type": "link"} if is_way else told

    # All that would change something

    def _refuse(self, *args: object, **_: object) -> NoReturn:
        path = next((each for each in args if isinstance(each, str)), self.root_marker)
        raise error_at(errno.EROFS, path)

    mkdir = makedirs = rmdir = touch = pipe = pipe_file = put = put_file = _refuse
    rm = rm_file = _rm = cp_file = copy = mv = _refuse


def _chained(address: str | None, protocol: str | None) -> str:
    """Return the dataset that is named by the rest of a chained URL."""
    if address is None:
        raise UsageError(
            "headrace: which dataset? give dataset='s3://bucket/data@main', or write "
            "headrace://path/in/it::s3://bucket/data@main"
        )
    if "://" in address or protocol in {None, "file", "local"}:
        return address
    return f"{protocol}://{address}"


def _checked(found: bytes | OSError, on_error: str) -> bytes | OSError:
    if isinstance(found, OSError) and on_error == "raise":
        raise found
    return found


def _omit_missing(error: OSError) -> None:
    """Pass over what is not there; a listing that could not be read is no empty directory."""
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error
