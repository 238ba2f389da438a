"""Copy before start: everything is downloaded by many connections at once, then read locally.

What `aws s3 sync` does, by a faster client than that: the copying of obstore is in Rust. It asks
for as many objects at once as the documentation of `aws s3` has its fastest example do.
"""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.peers import Cache, PeerFailedError
from bench.peers.daemon import make_cache
from bench.site import Stored

CONNECTIONS = 32
COPY_SECONDS = 900


@dataclass(frozen=True, slots=True)
class Copied:
    """A copy on the local disk."""

    path: Path
    mount_seconds: float

    def pids(self) -> Sequence[int]:
        """Return no process: nobody serves a copy."""
        return ()


class CopyBeforeStart:
    """The dataset on the local disk, once all of it has come."""

    name = "copy"

    def version(self) -> str:
        """Return the version of the client that copies."""
        return f"obstore {importlib.metadata.version('obstore')}"

    def settings(self) -> str:
        """Return how it is run."""
        return f"list, then GET all objects, {CONNECTIONS} at once"

    @contextmanager
    def offered(self, stored: Stored, scratch: Path) -> Iterator[CopyOffer]:
        """Nothing needs to be done before."""
        yield CopyOffer(stored, scratch / "cache")


@dataclass(frozen=True, slots=True)
class CopyOffer:
    """A dataset that can be copied to *path*."""

    stored: Stored
    path: Path

    @contextmanager
    def mounted(self, cache: Cache) -> Iterator[Copied]:
        """Copy it all unless it is there already. The copier has ended when this begins."""
        make_cache(self.path, cache)
        started = time.perf_counter()
        if cache is Cache.EMPTY:
            self._copy()
        yield Copied(self.path, time.perf_counter() - started)

    def _copy(self) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "bench.download", self.stored.url, self.path, str(CONNECTIONS)],
            env=dict(self.stored.environ) | {"PATH": ""},
            capture_output=True,
            text=True,
            timeout=COPY_SECONDS,
            check=False,
        )
        if done.returncode != 0:
            raise PeerFailedError(f"download: exit {done.returncode}: {done.stderr[-300:]}")
