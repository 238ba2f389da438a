"""The dataset's own file system: what the others are compared with."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.workloads import files_below


@dataclass(frozen=True, slots=True)
class NativeFiles:
    """The files where they lie; nobody serves them."""

    path: Path

    def forget(self) -> None:
        """Drop the files' pages; names and attributes stay: to drop them would hit everybody."""
        for file in files_below(self.path):
            descriptor = os.open(file, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)

    def servers(self) -> Mapping[str, Sequence[int]]:
        """Return no process at all."""
        return {}


class Native:
    """Reads the dataset in place."""

    name = "native"

    @contextmanager
    def mounted(self, dataset: Path, scratch: Path) -> Iterator[NativeFiles]:
        """Show *dataset* as it is; *scratch* stays empty."""
        yield NativeFiles(dataset)
