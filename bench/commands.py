"""Runs the installed `headrace` command as a person does, with a cache and a state of its own."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.family import Family
from vfs.mounting.mountinfo import mounted_at

COMMAND_SECONDS = 120
RUNTIME_VARIABLE = "HEADRACE_RUNTIME_DIR"


class CommandFailedError(Exception):
    """A `headrace` command did not end well; what it said is on the terminal already."""


class UnmountFailedError(CommandFailedError):
    """A mount did not go away as it should when all was done: it is off now, but that is a find."""


@dataclass(frozen=True, slots=True)
class Headrace:
    """The command in an environment of its own, by which its processes are known."""

    environ: Mapping[str, str]

    @classmethod
    def below(cls, directory: Path, environ: Mapping[str, str]) -> Headrace:
        """Return the command with all its state below *directory*, and *environ* added to ours."""
        own = {
            "HEADRACE_CACHE_DIR": str(directory / "cache"),
            RUNTIME_VARIABLE: str(directory / "run"),
            # The dataset may be the very environment we run in: it must not change under us.
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        return cls({**os.environ, **own, **environ})

    def run(self, *words: str, seconds: float | None = COMMAND_SECONDS) -> str:
        """Run `headrace WORDS`, its complaints shown, and return what it printed."""
        done = subprocess.run(
            [Path(sys.executable).with_name("headrace"), *words],
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            timeout=seconds,
            check=False,
        )
        if done.returncode != 0:
            message = f"'headrace {' '.join(words)}' failed with exit code {done.returncode}"
            raise CommandFailedError(message)
        return done.stdout

    @contextlib.contextmanager
    def started(self, *words: str) -> Iterator[subprocess.Popen[bytes]]:
        """Let `headrace WORDS` run beside the block, at the end of which it has ended too."""
        with subprocess.Popen(
            [Path(sys.executable).with_name("headrace"), *words],
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        ) as process:
            try:
                yield process
                process.wait(COMMAND_SECONDS)
            except BaseException:
                process.kill()
                raise

    @contextlib.contextmanager
    def beside(self, *words: str) -> Iterator[None]:
        """Let `headrace WORDS` run beside the block, at the end of which it is told to end."""
        with subprocess.Popen(
            [Path(sys.executable).with_name("headrace"), *words],
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            try:
                yield
            finally:
                process.terminate()

    def cache_stats(self) -> dict[str, int]:
        """Return what `headrace cache stats` counts."""
        stats: dict[str, int] = json.loads(self.run("cache", "stats", "--json"))
        return stats

    @contextlib.contextmanager
    def mounted(self, mountpoint: Path, *words: str) -> Iterator[Path]:
        """Mount *words* at *mountpoint* for the length of the block.

        Raises UnmountFailedError if only unmounting fails; what went wrong before counts for more.
        """
        mountpoint.mkdir(exist_ok=True)
        try:
            self.run("mount", *words, str(mountpoint))
            yield mountpoint
        except BaseException:
            with contextlib.suppress(UnmountFailedError):
                self._unmount(mountpoint)
            raise
        self._unmount(mountpoint)

    def _unmount(self, mountpoint: Path) -> None:
        if mounted_at(mountpoint) is None:
            return
        try:
            self.run("umount", str(mountpoint))
        except CommandFailedError as error:
            if mounted_at(mountpoint) is not None:
                # Somebody is inside: they may stay, but the mount does not.
                self.run("umount", "--lazy", str(mountpoint))
            raise UnmountFailedError(str(error)) from error

    @contextlib.contextmanager
    def cache_service_stopped_after(self) -> Iterator[None]:
        """Stop the cache service and whatever else commands left running on the way out."""
        with self.family.ended_after():
            yield

    @property
    def family(self) -> Family:
        """All processes that run in our environment, the ones about to serve included."""
        return Family(RUNTIME_VARIABLE, self.environ[RUNTIME_VARIABLE])
