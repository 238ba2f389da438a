"""JuiceFS with its metadata in Redis, else in SQLite.

Its objects have a format of its own: the dataset is copied into it once, by `juicefs sync`, over
the nearest network, before anything is measured.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.peers import PeerFailedError
from bench.peers.daemon import COMMAND_SECONDS, Daemon, run_command
from bench.peers.tools import JUICEFS, REDIS
from bench.site import Stored
from tests.seaweed import ACCESS_KEY, SECRET_KEY, free_ports

BUCKET = "juicefs"
OPTIONS = (
    "--read-only",
    "--no-usage-report",
    "--no-syslog",
    "--no-bgjob",
    "--backup-meta=0",
    "--attr-cache=86400s",
    "--entry-cache=86400s",
    "--dir-entry-cache=86400s",
    "--negative-entry-cache=86400s",
    "--readdir-cache",
    "--open-cache=86400s",
    "--buffer-size=1024M",
    "--prefetch=3",
    "--max-fuse-io=1M",
    "--cache-size=20G",
    "--free-space-ratio=0.05",
)
START_SECONDS = 10.0


class JuiceFS:
    """One volume for each dataset."""

    name = "juicefs"

    def version(self) -> str:
        """Return its version and that of its metadata engine, or raise `PeerUnavailableError`."""
        engine = REDIS.version("--version") if has_redis() else "SQLite"
        return f"{JUICEFS.version('version')}; metadata in {engine}"

    def settings(self) -> str:
        """Return how it is run."""
        return f"juicefs mount {' '.join(OPTIONS)}"

    @contextmanager
    def offered(self, stored: Stored, scratch: Path) -> Iterator[Daemon]:
        """Make a volume and copy the dataset into it."""
        cache, mountpoint = scratch / "cache", scratch / "mount"
        with metadata(scratch) as (meta, helpers):
            environ = {"ACCESS_KEY": ACCESS_KEY, "SECRET_KEY": SECRET_KEY, "HOME": str(scratch)}
            fill(stored, meta, environ)
            far = f"--bucket={stored.gate.s3.url}/{BUCKET}"
            (port,) = free_ports(1)
            command = (
                *(JUICEFS.find(), "mount", meta, mountpoint, far, *OPTIONS),
                *(f"--cache-dir={cache}", f"--metrics=127.0.0.1:{port}"),
            )
            yield Daemon(command, mountpoint, cache, environ, helpers)


def fill(stored: Stored, meta: str, environ: dict[str, str]) -> None:
    """Format a volume beside the other objects and write the dataset into it."""
    volume, near = f"bench-{stored.prefix}", f"{stored.server.endpoint}/{BUCKET}"
    where = ("--storage=s3", f"--bucket={near}")
    run_command((JUICEFS.find(), "format", *where, "--trash-days=0", meta, volume), environ)
    run_command(
        (JUICEFS.find(), "sync", "--dirs", "--threads=32", f"{stored.directory}/", "jfs://BENCH/"),
        {**environ, "BENCH": meta},
        COMMAND_SECONDS,
    )


def has_redis() -> bool:
    """Whether Redis is here."""
    return shutil.which(REDIS.program) is not None


@contextmanager
def metadata(scratch: Path) -> Iterator[tuple[str, Sequence[int]]]:
    """Give the URL of an empty metadata engine, and the processes that it is."""
    if not has_redis():
        yield f"sqlite3://{scratch}/metadata.db", ()
        return
    (port,) = free_ports(1)
    with subprocess.Popen(
        [REDIS.find(), "--port", str(port), "--bind", "127.0.0.1", "--save", ""],
        cwd=scratch,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            wait_until_accepted(port)
            yield f"redis://127.0.0.1:{port}/1", (process.pid,)
        finally:
            process.kill()


def wait_until_accepted(port: int) -> None:
    """Return when somebody takes connections there."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), START_SECONDS).close()
        except OSError as error:
            if time.monotonic() > deadline:
                raise PeerFailedError(f"redis-server does not answer: {error}") from error
            time.sleep(0.01)
        else:
            return
