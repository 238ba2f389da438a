"""A snapshot's files as a map-style dataset of PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from fsspec.spec import AbstractFileSystem
from torch.utils.data import Dataset

from vfs.torch.pathtable import PathTable

MAGIC = frozenset("*?[")


class Sample(NamedTuple):
    """One file: its bytes or what was decoded from them, the number of its class, and which it is.

    `label` is the place of its parent directory's name in `FileDataset.classes`.
    """

    data: Any
    label: int
    path: str
    number: int


def _as_read(data: bytes) -> bytes:
    return data


class FileDataset(Dataset[Sample]):  # type: ignore[misc]  # torch is seen without types
    """The files below a directory, or those that match a pattern, sorted by path.

    May be pickled for spawned workers, and used by forked ones.
    """

    def __init__(
        self,
        fs: AbstractFileSystem,
        where: str = "",
        *,
        decode: Callable[[bytes], Any] = _as_read,
    ) -> None:
        """Take the files of *fs* below *where*, a directory or a pattern such as `train/**/*.jpg`.

        *fs* is what `vfs.open` gives. *decode* is called with each file's bytes, in the worker.
        """
        self.fs = fs
        self.paths = PathTable(_files(fs, where))
        names = {_class_of(self.paths[number]) for number in range(len(self.paths))}
        self.classes: Sequence[str] = sorted(names)
        self._labels = {name: number for number, name in enumerate(self.classes)}
        self._decode = decode

    def __len__(self) -> int:
        """Return how many files there are."""
        return len(self.paths)

    def __getitem__(self, index: int) -> Sample:
        """Return one file."""
        path = self.paths[index]
        return self._sample(index, path, self.fs.cat_file(path))

    def __getitems__(self, indices: Sequence[int]) -> list[Sample]:
        """Return a batch; what is missing of it is fetched at once. DataLoader asks for this."""
        paths = [self.paths[index] for index in indices]
        found = self.fs.cat_ranges(paths, None, None, on_error="raise")
        return [self._sample(*each) for each in zip(indices, paths, found, strict=True)]

    def _sample(self, index: int, path: str, data: bytes) -> Sample:
        return Sample(self._decode(data), self._labels[_class_of(path)], path, index)


def _files(fs: AbstractFileSystem, where: str) -> list[str]:
    if not MAGIC & set(where):
        return list(fs.find(where))
    found = fs.glob(where, detail=True)
    return sorted(path for path, info in found.items() if info["type"] == "file")


def _class_of(path: str) -> str:
    """Return the name of the directory that a file lies in, "" at the root."""
    return path.rpartition("/")[0].rpartition("/")[2]
