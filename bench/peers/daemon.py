"""A FUSE program that stays in the foreground: started, waited for, and gone with its mount."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.family import Family
from bench.peers import Cache, PeerFailedError
from bench.processes import parent_of
from bench.workloads import files_below
from vfs.mounting.mountinfo import mounted_at

MARK = "HEADRACE_BENCH_PEER"
MOUNT_SECONDS = 30.0
POLL_SECONDS = 0.005
UNMOUNT_SECONDS = 20.0
COMMAND_SECONDS = 900.0
LOG_TAIL = 300


@dataclass(frozen=True, slots=True)
class DaemonMount:
    """A directory that a program shows right now."""

    path: Path
    family: Family
    helpers: Sequence[int]
    mount_seconds: float
    watching: Set[int]
    """Those of its processes that only watch over others."""
    start: Callable[[], object]
    """Runs the program once more, and returns when it has mounted."""

    def pids(self) -> Sequence[int]:
        """Return its processes."""
        return [*self.family.pids(), *self.helpers]

    def serving(self) -> Sequence[int]:
        """Return its processes but those that watch over others."""
        return sorted(set(self.family.pids()) - self.watching)

    @property
    def is_watched(self) -> bool:
        """Whether some of its processes do nothing but watch over others."""
        return bool(self.watching)

    def remount(self) -> None:
        """Do what a service manager would: take off what is left, and run the program again."""
        umount("--lazy", self.path)
        self.start()


@dataclass(frozen=True, slots=True)
class Daemon:
    """A program that mounts when it is started, and its cache's directory."""

    command: Sequence[str | Path]
    mountpoint: Path
    cache: Path
    environ: dict[str, str]
    helpers: Sequence[int] = ()
    """Processes that serve it too, and go on when it is unmounted."""
    settle_seconds: float = 0.0
    """So long after the last read its cache is complete."""

    @contextmanager
    def mounted(self, cache: Cache) -> Iterator[DaemonMount]:
        """Run the program for the length of a block; it starts with no more than *cache*."""
        make_cache(self.cache, cache)
        self.mountpoint.mkdir(exist_ok=True)
        family = Family(MARK, str(self.mountpoint))
        processes: list[subprocess.Popen[bytes]] = []
        start = partial(self._start, family, processes)
        with family.ended_after():
            try:
                seconds = start()
                pids = family.pids()
                watching = set(map(parent_of, pids)) & set(pids)
                yield DaemonMount(self.mountpoint, family, self.helpers, seconds, watching, start)
                time.sleep(self.settle_seconds)
            finally:
                try:
                    unmount(self.mountpoint)
                finally:
                    for process in processes:
                        end(process)

    def _start(self, family: Family, processes: list[subprocess.Popen[bytes]]) -> float:
        """Run the program, added to *processes*; return how long it took until it had mounted."""
        log = self.mountpoint.with_suffix(".log")
        started = time.perf_counter()
        with log.open("wb") as output:
            process = subprocess.Popen(
                list(self.command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**family.environ, **self.environ},
                start_new_session=True,
            )
        processes.append(process)
        wait_until_mounted(self.mountpoint, process, log)
        return time.perf_counter() - started


def make_cache(directory: Path, cache: Cache) -> None:
    """Bring a cache directory into the state that a mount is to find; nobody uses it now."""
    if cache is Cache.EMPTY:
        shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(exist_ok=True)
    if cache is Cache.ON_DISK:
        drop_pages(directory)


def drop_pages(directory: Path) -> None:
    """Let no page of the files below *directory* be in memory; dirty ones could not be dropped."""
    os.sync()
    for file in filter(Path.is_file, files_below(directory)):
        descriptor = os.open(file, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def wait_until_mounted(mountpoint: Path, process: subprocess.Popen[bytes], log: Path) -> None:
    """Return when the mount is in the kernel's table; raise when it does not come."""
    deadline = time.monotonic() + MOUNT_SECONDS
    while mounted_at(mountpoint) is None:
        if process.poll() is not None or time.monotonic() > deadline:
            said = log.read_text(errors="replace")[-LOG_TAIL:].strip()
            raise PeerFailedError(f"did not mount: {said}")
        time.sleep(POLL_SECONDS)


def unmount(mountpoint: Path) -> None:
    """Take the mount down, however it is."""
    if mounted_at(mountpoint) is None:
        return
    try:
        umount(mountpoint)
    except subprocess.SubprocessError:
        # Somebody is still inside: they are ours too, and about to be told.
        umount("--lazy", mountpoint)


def umount(*words: str | Path) -> None:
    """Run umount(8); raise if it fails or hangs."""
    subprocess.run(
        ["umount", *words], stderr=subprocess.DEVNULL, timeout=UNMOUNT_SECONDS, check=True
    )


def end(process: subprocess.Popen[bytes]) -> None:
    """See a program end, as it does without its mount, and kill it if it does not."""
    try:
        process.wait(UNMOUNT_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def run_command(
    words: Sequence[str | Path], environ: dict[str, str], seconds: float = COMMAND_SECONDS
) -> str:
    """Run a peer's command to its end and return what it said; raise if it fails."""
    done = subprocess.run(
        list(words),
        env={**os.environ, **environ},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds,
        check=False,
    )
    if done.returncode != 0:
        raise PeerFailedError(
            f"{Path(words[0]).name} {words[1]}: {done.stdout[-LOG_TAIL:].strip()}"
        )
    return done.stdout
