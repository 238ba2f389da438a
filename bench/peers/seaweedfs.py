"""SeaweedFS's own mount, which speaks the server's own protocols and not S3.

File data is read through the filer, whose HTTP port is reached through the gate like S3's. What it
asks over gRPC, names and attributes, comes without any latency: an advantage over all others.
It deletes its cache when it ends. Where one is to be kept, the new mount reads everything once
before it is measured, and the kernel is made to forget it all.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.lookups import drop_names
from bench.peers import Cache
from bench.peers.daemon import Daemon, DaemonMount, drop_pages
from bench.peers.tools import WEED
from bench.site import Stored
from bench.workloads import files_below, read_all

OPTIONS = (
    "-readOnly",
    "-volumeServerAccess=filerProxy",
    "-cacheCapacityMB=2048",
    "-cacheMetaTtlSec=86400",
    "-readerCacheSizeMB=512",
    "-disableXAttr",
)
READERS = 16


class SeaweedMount:
    """`weed mount` of the directory that the bucket is."""

    name = "seaweedfs"

    def version(self) -> str:
        """Return its version, or raise `PeerUnavailableError`."""
        return WEED.version("version")

    def settings(self) -> str:
        """Return how it is run."""
        return f"weed mount {' '.join(OPTIONS)}"

    @contextmanager
    def offered(self, stored: Stored, scratch: Path) -> Iterator[Forgetful]:
        """Nothing needs to be done before."""
        cache, mountpoint = scratch / "cache", scratch / "mount"
        gate = stored.gate
        command = (
            WEED.find(),
            "mount",
            f"-filer={gate.filer.address}.{gate.filer_grpc_port}",
            f"-filer.path=/buckets/{stored.server.bucket}/{stored.prefix}",
            f"-dir={mountpoint}",
            f"-cacheDir={cache}",
            f"-localSocket={scratch}/socket",
            *OPTIONS,
        )
        yield Forgetful(Daemon(command, mountpoint, cache, {"HOME": str(scratch)}))


@dataclass(frozen=True, slots=True)
class Forgetful:
    """A mount whose cache does not outlive it."""

    daemon: Daemon

    @contextmanager
    def mounted(self, cache: Cache) -> Iterator[DaemonMount]:
        """Mount, and fill the cache again if it was to be kept."""
        with self.daemon.mounted(Cache.EMPTY) as shown:
            if cache is not Cache.EMPTY:
                read_everything(shown.path)
                drop_pages(shown.path)
                drop_names(shown.path)
            if cache is Cache.ON_DISK:
                drop_pages(self.daemon.cache)
            yield shown


def read_everything(root: Path) -> None:
    """Read all files, many at once."""
    paths = [os.fspath(file.relative_to(root)) for file in files_below(root)]
    with ThreadPoolExecutor(READERS) as threads:
        list(threads.map(lambda path: read_all(root, [path]), paths))
