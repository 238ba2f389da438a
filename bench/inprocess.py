"""Reads a published dataset in a reader's own process, by `vfs.open`."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from bench.latency import sleep_until


@dataclass(frozen=True, slots=True)
class InProcess:
    """What a process needs to open a dataset on a node's cache."""

    url: str
    repository: str
    environ: Mapping[str, str]

    @contextmanager
    def opened(self) -> Iterator[Any]:
        """Give the filesystem, connected; this process becomes one of the environment's."""
        import vfs  # noqa: PLC0415 - readers of mounts need not load it

        os.environ.update(self.environ)
        cache_dir = self.environ["HEADRACE_CACHE_DIR"]
        with closing(vfs.open(self.url, repo=self.repository, cache_dir=cache_dir)) as filesystem:
            filesystem.exists("")
            yield filesystem


class Share(NamedTuple):
    """Files that one reader reads, by what, so many times, and when it begins (monotonic clock)."""

    source: InProcess
    paths: Sequence[str]
    times: int
    begin: float


class Lap(NamedTuple):
    """One time through all files."""

    began: float
    ended: float
    byte_count: int


def read_in_process(_root: Path, share: Share) -> list[Lap]:
    """Read whole files one by one; opening the dataset is not part of a lap.

    All begin at one moment: else the time that one takes longer to open counts for all.
    """
    with share.source.opened() as filesystem:
        sleep_until(share.begin)
        return [lap(filesystem, share.paths) for _ in range(share.times)]


def lap(filesystem: Any, paths: Sequence[str]) -> Lap:  # noqa: ANN401 - fsspec has no types
    """Read all files once."""
    began = time.monotonic()
    total = sum(len(filesystem.cat_file(path)) for path in paths)
    return Lap(began, time.monotonic(), total)


def laps_together(laps: Sequence[Lap]) -> tuple[float, int]:
    """Return the seconds and bytes of the same lap of all readers."""
    seconds = max(each.ended for each in laps) - min(each.began for each in laps)
    return seconds, sum(each.byte_count for each in laps)
