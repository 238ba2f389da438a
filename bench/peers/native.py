"""The dataset's own file system: what the others are compared with."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.peers import Cache
from bench.peers.daemon import drop_pages
from bench.site import Stored


@dataclass(frozen=True, slots=True)
class NativeFiles:
    """The files where they lie; nobody serves them."""

    path: Path

    def forget(self) -> None:
        """Drop the files' pages; names and attributes stay: to drop them would hit everybody."""
        drop_pages(self.path)

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


class LocalDisk:
    """The files that the dataset was made of: the limit of what a local disk and its pages give."""

    name = "native"

    def version(self) -> str:
        """Return the kernel's version."""
        return f"Linux {platform.release()}"

    def settings(self) -> str:
        """Return how it is run."""
        return "the same files on the local disk; empty and on disk: read from it"

    @contextmanager
    def offered(self, stored: Stored, scratch: Path) -> Iterator[NativeOffer]:
        """Nothing needs to be done."""
        yield NativeOffer(stored.directory)


@dataclass(frozen=True, slots=True)
class NativeOffer:
    """A local directory."""

    path: Path
    mount_seconds: float = 0.0

    @contextmanager
    def mounted(self, cache: Cache) -> Iterator[NativeOffer]:
        """Show it as it is, its pages dropped unless they are to be kept."""
        if cache is not Cache.KEPT:
            drop_pages(self.path)
        yield self

    def pids(self) -> Sequence[int]:
        """Return no process at all."""
        return ()
