"""rclone mount with its full VFS cache."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.peers.daemon import Daemon
from bench.peers.tools import RCLONE
from bench.site import Stored
from tests.seaweed import ACCESS_KEY, REGION, SECRET_KEY

OPTIONS = (
    "--read-only",
    "--vfs-cache-mode=full",
    "--vfs-cache-max-age=1000h",
    "--vfs-read-chunk-size=4M",
    "--vfs-read-chunk-streams=16",  # what its documentation names for S3
    "--vfs-handle-caching=100ms",  # by default a cache is not kept for files closed 5 s ago
    "--vfs-fast-fingerprint",
    "--no-modtime",
    "--no-checksum",
    "--use-server-modtime",
    "--s3-no-head-object",
    "--dir-cache-time=1000h",
    "--poll-interval=0",
    "--attr-timeout=1000h",
    "--max-read-ahead=1M",
)
SETTLE_SECONDS = 0.5
"""It writes down what it has of a file when that was closed for as long as handles are kept."""


class Rclone:
    """The S3 remote, given on the command line."""

    name = "rclone"

    def version(self) -> str:
        """Return its version, or raise `PeerUnavailableError`."""
        return RCLONE.version("version")

    def settings(self) -> str:
        """Return how it is run."""
        return f"rclone mount {' '.join(OPTIONS)}"

    @contextmanager
    def offered(self, stored: Stored, scratch: Path) -> Iterator[Daemon]:
        """Nothing needs to be done before."""
        cache, mountpoint = scratch / "cache", scratch / "mount"
        environ = {
            "RCLONE_CONFIG": str(scratch / "no.conf"),
            "RCLONE_CACHE_DIR": str(cache),
            "RCLONE_CONFIG_STORE_TYPE": "s3",
            "RCLONE_CONFIG_STORE_PROVIDER": "SeaweedFS",
            "RCLONE_CONFIG_STORE_ENDPOINT": stored.gate.s3.url,
            "RCLONE_CONFIG_STORE_ACCESS_KEY_ID": ACCESS_KEY,
            "RCLONE_CONFIG_STORE_SECRET_ACCESS_KEY": SECRET_KEY,
            "RCLONE_CONFIG_STORE_REGION": REGION,
        }
        remote = f"store:{stored.server.bucket}/{stored.prefix}"
        command = (RCLONE.find(), "mount", remote, mountpoint, *OPTIONS)
        yield Daemon(command, mountpoint, cache, environ, settle_seconds=SETTLE_SECONDS)
