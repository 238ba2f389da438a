"""headrace as its users run it on data in a bucket: published once, mounted anew for each pass."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.commands import CommandFailedError, Headrace
from bench.peers import Cache, PeerUnavailableError
from bench.peers.daemon import make_cache
from bench.site import Stored
from vfs.mounting.mountinfo import mounted_at

PUBLISH_SECONDS = 900


@dataclass(frozen=True, slots=True)
class HeadraceS3:
    """Publishes what lies in the bucket, with *publishing* options, and mounts it."""

    name: str = "headrace"
    publishing: Sequence[str] = ()
    mounting: Sequence[str] = ()
    announcing: bool = False
    """Whether it is told beforehand in which order files will be read."""

    def version(self) -> str:
        """Return its version, or raise `PeerUnavailableError` where it lacks an option."""
        missing = [word for word in self.publishing if word not in help_of("snapshot")]
        if missing:
            raise PeerUnavailableError(f"this headrace has no 'snapshot {' '.join(missing)}'")
        if self.announcing and "--follow" not in help_of("prefetch"):
            raise PeerUnavailableError("this headrace has no 'prefetch --follow'")
        return f"headrace {importlib.metadata.version('headrace')}"

    def settings(self) -> str:
        """Return how it is run."""
        publish = " ".join(("headrace snapshot", *self.publishing))
        mount = " ".join(("headrace mount", *self.mounting))
        order = "; headrace prefetch MOUNTPOINT --order FILE --follow" if self.announcing else ""
        return f"{publish}; {mount}{order}"

    @contextmanager
    def offered(self, stored: Stored, scratch: Path) -> Iterator[HeadraceOffer]:
        """Publish the dataset into a repository of this peer's own."""
        command = Headrace.below(scratch, stored.environ)
        source = (stored.url, "--repo", stored.server.url(f"{stored.prefix}-{self.name}"))
        with command.cache_service_stopped_after():
            command.run("snapshot", *source, *self.publishing, seconds=PUBLISH_SECONDS)
        yield HeadraceOffer(command, scratch, (*source, *self.mounting), self.announcing)


@dataclass(frozen=True, slots=True)
class HeadraceOffer:
    """A published dataset."""

    command: Headrace
    scratch: Path
    words: Sequence[str]
    announcing: bool

    @property
    def own_environ(self) -> Mapping[str, str]:
        """What this offer's environment has that ours has not."""
        return dict(self.command.environ.items() - os.environ.items())

    @contextmanager
    def mounted(self, cache: Cache) -> Iterator[HeadraceShown]:
        """Mount it by a supervisor, workers and a cache service that are all new."""
        make_cache(self.scratch / "cache", cache)
        mountpoint = self.scratch / "mount"
        mountpoint.mkdir(exist_ok=True)
        with self.command.cache_service_stopped_after():
            started = time.perf_counter()
            self.command.run("mount", *self.words, str(mountpoint))
            seconds = time.perf_counter() - started
            try:
                yield HeadraceShown(mountpoint, seconds, self.command, self.announcing)
            finally:
                self._unmount(mountpoint)

    def _unmount(self, mountpoint: Path) -> None:
        """Unmount. That its processes take long to end is no failure of what was measured."""
        try:
            self.command.run("umount", str(mountpoint))
        except CommandFailedError:
            if mounted_at(mountpoint) is not None:
                self.command.run("umount", "--lazy", str(mountpoint))
                raise


@dataclass(frozen=True, slots=True)
class HeadraceShown:
    """A dataset that is mounted right now."""

    path: Path
    mount_seconds: float
    command: Headrace
    announcing: bool

    def pids(self) -> Sequence[int]:
        """Return everybody: workers, cache service, supervisor, keeper, zygote."""
        return self.command.family.pids()

    def serving(self) -> Sequence[int]:
        """Return the workers."""
        (row,) = json.loads(self.command.run("list", "--json"))
        workers: Sequence[int] = row["workers"]
        return workers

    @contextmanager
    def announced(self, paths: Sequence[str]) -> Iterator[None]:
        """Tell in which order *paths* will be read, where that is to be done."""
        if not self.announcing:
            yield
            return
        order = self.path.with_name("order")
        order.write_text("".join(f"{path}\n" for path in paths))
        with self.command.beside("prefetch", str(self.path), "--order", str(order), "--follow"):
            yield


def help_of(command: str) -> str:
    """Return what a `headrace` command says of its options."""
    program = Path(sys.executable).with_name("headrace")
    return subprocess.run(
        [program, command, "--help"], capture_output=True, text=True, check=False
    ).stdout
