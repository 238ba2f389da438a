"""s3fs-fuse with its disk cache."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.peers.daemon import Daemon
from bench.peers.tools import S3FS
from bench.site import Stored
from tests.seaweed import ACCESS_KEY, REGION, SECRET_KEY

OPTIONS = (
    "ro",
    "kernel_cache",
    "attr_timeout=86400",
    "entry_timeout=86400",
    "negative_timeout=86400",
    "stat_cache_expire=86400",
    "max_stat_cache_size=1000000",
    "enable_noobj_cache",
    "parallel_count=16",
    "multireq_max=64",
    "umask=0022",
    "complement_stat",
    "use_path_request_style",
)


class S3fsFuse:
    """Debian's s3fs; not the Python package of the same name."""

    name = "s3fs"

    def version(self) -> str:
        """Return its version, or raise `PeerUnavailableError`."""
        return S3FS.version("--version")

    def settings(self) -> str:
        """Return how it is run."""
        return f"s3fs -f -o use_cache=DIR,{','.join(OPTIONS)}"

    @contextmanager
    def offered(self, stored: Stored, scratch: Path) -> Iterator[Daemon]:
        """Write its password file."""
        cache, mountpoint, password = scratch / "cache", scratch / "mount", scratch / "password"
        password.touch(0o600)
        password.write_text(f"{ACCESS_KEY}:{SECRET_KEY}\n")
        options = (
            *OPTIONS,
            f"url={stored.gate.s3.url}",
            f"endpoint={REGION}",
            f"passwd_file={password}",
            f"use_cache={cache}",
            f"tmpdir={scratch}",
        )
        place = f"{stored.server.bucket}:/{stored.prefix}"
        command = (S3FS.find(), place, mountpoint, "-f", "-o", ",".join(options))
        yield Daemon(command, mountpoint, cache, {})
