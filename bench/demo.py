"""`make demo`: publish real files, mount them, read some, and compare all that with the source.

Everything goes through the `headrace` command, as it would for its user. Settings come from the
environment: DATASET is a directory (this environment's packages by default), S3=1 puts objects and
repository into an S3 server that runs for the length of the demo.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TypeVar

from bench.commands import CommandFailedError, Headrace
from bench.inventory import Inventory, digests, take_inventory
from bench.upload import upload
from tests.seaweed import seaweed

LOG_LINES = 20
SAMPLE_COUNT = 300
SAMPLE_SIZE = 64 << 20
UPLOAD_COUNT, UPLOAD_SIZE = 8_000, 200 << 20
"""What of the default dataset goes to the S3 server: uploading is not what the demo shows."""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

T = TypeVar("T")


class MountDiffersError(Exception):
    """The mount does not show what the source holds."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A dataset, where headrace finds it, and where its snapshots go."""

    dataset: Path
    inventory: Inventory
    source: str
    repository: str
    environ: Mapping[str, str]


def main() -> int:
    """Run the demo; 0 when the mount showed exactly what the source holds."""
    try:
        with ending_cleanly_on_signals(), scratch_directory() as directory:
            demonstrate(directory)
    except KeyboardInterrupt:
        print("demo: interrupted; everything was taken down", file=sys.stderr)
        return 130
    except (CommandFailedError, MountDiffersError, NotADirectoryError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    return 0


def demonstrate(directory: Path) -> None:
    """Play one demo whose files all lie below *directory*."""
    try:
        with scene(directory) as set_up:
            Demo(set_up, directory).play()
    except CommandFailedError:
        show_logs(directory)
        raise


def show_logs(directory: Path) -> None:
    """Print the end of each log below *directory*, which is about to be removed."""
    for log in [*directory.rglob("*.log"), *directory.rglob("log")]:
        lines = log.read_text(errors="replace").splitlines()[-LOG_LINES:]
        if lines:
            print(f"--- the end of {log}", *lines, sep="\n", file=sys.stderr)


@contextlib.contextmanager
def ending_cleanly_on_signals() -> Iterator[None]:
    """Turn the first signal to stop into KeyboardInterrupt and ignore those that follow it."""

    def interrupt(_signum: int, _frame: FrameType | None) -> None:
        for each in SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {each: signal.signal(each, interrupt) for each in SIGNALS}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


@contextlib.contextmanager
def scratch_directory() -> Iterator[Path]:
    """Make a directory for everything the demo writes; it is gone afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="headrace-demo-"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


@contextlib.contextmanager
def scene(directory: Path) -> Iterator[Scene]:
    """Look through the dataset and, with S3=1, bring it to an S3 server that runs for the block."""
    chosen = os.environ.get("DATASET")
    dataset = Path(chosen or sysconfig.get_path("platlib")).resolve()
    if not dataset.is_dir():
        message = f"DATASET={dataset} is not a directory"
        raise NotADirectoryError(message)
    inventory = take_inventory(dataset)
    if os.environ.get("S3", "0") in {"", "0"}:
        yield Scene(dataset, inventory, str(dataset), str(directory / "repository"), {})
        return
    if not chosen:
        inventory = inventory.beginning(UPLOAD_COUNT, UPLOAD_SIZE)
    with seaweed("demo") as server:
        say(f"S3 server at {server.endpoint}; uploading {described(inventory)} ...")
        source = server.url("dataset")
        seconds, _ = timed(lambda: upload(dataset, inventory.sizes, source, server.environ))
        say(f"... in {seconds:.1f} s")
        yield Scene(dataset, inventory, source, server.url("repository"), server.environ)


class Demo:
    """One scene played through the command, and the table of how that went."""

    def __init__(self, scene: Scene, directory: Path) -> None:
        self._scene = scene
        self._headrace = Headrace.below(directory, scene.environ)
        self._mountpoint = directory / "mount"
        self._sample = scene.inventory.sample(SAMPLE_COUNT, SAMPLE_SIZE)
        self._rows: list[tuple[str, str]] = []

    def play(self) -> None:
        """Publish, mount, walk and read; mount again and read again; print the table."""
        expected = digests(self._scene.dataset, self._sample)
        self._rows.append(("dataset", described(self._scene.inventory)))
        with self._headrace.cache_service_stopped_after():
            self._publish()
            with self._mounted("mount command to first byte") as mount:
                self._walk(mount)
                self._read(mount, expected, "first read")
                self._note_fetched("fetched so far")
                self._read(mount, expected, "same reads, kernel's page cache")
            with self._mounted("mounted anew, to first byte") as mount:
                self._read(mount, expected, "same reads, node's cache")
                self._note_fetched("fetched in all")
        self._print()

    def _publish(self) -> None:
        scene = self._scene
        say(f"headrace snapshot {scene.source} --repo {scene.repository}")
        seconds, _ = timed(
            lambda: self._headrace.run(
                "snapshot", scene.source, "--repo", scene.repository, seconds=None
            )
        )
        self._note("publish", seconds)

    @contextlib.contextmanager
    def _mounted(self, label: str) -> Iterator[Path]:
        scene, mountpoint = self._scene, self._mountpoint
        say(f"headrace mount {scene.source}@main {mountpoint} --repo {scene.repository}")
        start = time.perf_counter()
        with self._headrace.mounted(mountpoint, f"{scene.source}@main", "--repo", scene.repository):
            with (mountpoint / self._sample[0]).open("rb") as file:
                file.read(1)
            self._note(label, time.perf_counter() - start)
            yield mountpoint

    def _walk(self, mount: Path) -> None:
        seconds, seen = timed(lambda: take_inventory(mount))
        if seen != self._scene.inventory:
            message = f"the mount shows {described(seen)}"
            raise MountDiffersError(message)
        self._note("walk", seconds, "every name and size as in the source")

    def _read(self, mount: Path, expected: Mapping[str, str], label: str) -> None:
        seconds, seen = timed(lambda: digests(mount, self._sample))
        wrong = [path for path in expected if seen[path] != expected[path]]
        if wrong:
            message = f"{len(wrong)} files differ from the source, first {wrong[0]}"
            raise MountDiffersError(message)
        size = sum(self._scene.inventory.sizes[path] for path in self._sample)
        self._note(label, seconds, f"{len(seen)} files, {in_mb(size)}, every SHA-256 equal")

    def _note_fetched(self, label: str) -> None:
        fetched = self._headrace.cache_stats()["bytes_fetched"]
        share = fetched / max(1, self._scene.inventory.byte_count)
        self._rows.append((label, f"{in_mb(fetched)}, {share:.1%} of the dataset"))

    def _note(self, label: str, seconds: float, remark: str = "") -> None:
        self._rows.append((label, f"{seconds:7.3f} s   {remark}".rstrip()))

    def _print(self) -> None:
        width = max(len(label) for label, _ in self._rows)
        print("\n" + "\n".join(f"  {label:<{width}}   {value}" for label, value in self._rows))


def timed(call: Callable[[], T]) -> tuple[float, T]:
    """Return how many seconds *call* took, and its result."""
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def described(inventory: Inventory) -> str:
    """Return the inventory in a few words."""
    return f"{inventory.file_count:,} files, {in_mb(inventory.byte_count)}"


def in_mb(size: int) -> str:
    """Return a size in millions of bytes."""
    return f"{size / 1e6:,.1f} MB"


def say(text: str) -> None:
    """Tell what happens now."""
    print(f"demo: {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
