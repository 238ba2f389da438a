"""Stand-ins for containers: mount namespaces with readers in them that verify every byte."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

SLOW_SECONDS = 0.05
CLOSE_SECONDS = 10
READER = """
import hashlib, json, os, random, sys, time, select
place, expected = sys.argv[1], json.load(open(sys.argv[2]))
pause, slow_seconds = map(float, sys.argv[3:])
names = list(expected)
random.seed(os.getpid())
read = errors = wrong = 0
longest, last_error, slow = 0.0, "", []
print("ready", flush=True)
while not select.select([sys.stdin], [], [], 0)[0]:
    name = random.choice(names)
    began = time.monotonic()
    try:
        descriptor = os.open(os.path.join(place, name), os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            digest = hashlib.blake2b()
            while data := os.read(descriptor, 1 << 20):
                digest.update(data)
        finally:
            os.close(descriptor)
    except OSError as error:
        errors += 1
        last_error = f"{name}: {error}"
        time.sleep(0.01)
        continue
    read += 1
    wrong += digest.hexdigest() != expected[name]
    took = time.monotonic() - began
    longest = max(longest, took)
    if took > slow_seconds and len(slow) < 10000:
        slow.append((began, took))
    time.sleep(pause)
print(json.dumps([read, errors, wrong, longest, last_error, slow]), flush=True)
"""


@dataclass(frozen=True, slots=True)
class Report:
    """What one reader saw."""

    read: int
    errors: int
    wrong: int
    longest_seconds: float
    last_error: str
    slow: Sequence[tuple[float, float]]
    """When each file was opened that took more than `SLOW_SECONDS` to verify, and how long."""


class Container:
    """A mount namespace that shows a target at a place of its own, and one reader in it."""

    def __init__(
        self,
        target: Path,
        scratch: Path,
        expected: Path,
        propagation: str = "private",
        pause_seconds: float = 0.0,
    ) -> None:
        """Show *target*; *propagation* is "private", or "slave" for HostToContainer."""
        inside = scratch / f"container-{time.monotonic_ns()}"
        inside.mkdir()
        script = (
            f"mount --bind {target} {inside} && mount --make-{propagation} {inside} && "
            f"{{ {_all_but(inside)} | xargs -r umount -l || true; }} && "
            'exec "$@"'
        )
        self._process = subprocess.Popen(
            [
                *("unshare", "-m", "--propagation", "slave", "sh", "-c", script, "sh"),
                *(sys.executable, "-c", READER),
                *(str(inside), str(expected), str(pause_seconds), str(SLOW_SECONDS)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def finish(self) -> Report:
        """End the reader and return what it saw."""
        output, _ = self._process.communicate("stop\n", timeout=120)
        return Report(*json.loads(output))

    def close(self) -> None:
        """End the reader, or leave it to the end of a mount that nobody serves any more."""
        self._process.kill()
        with suppress(subprocess.TimeoutExpired):
            self._process.communicate(timeout=CLOSE_SECONDS)


def _all_but(place: Path) -> str:
    """Return what lists the node's mounts: a copy of one would keep it alive."""
    return f"awk '/ - fuse.headrace / && $5 != \"{place}\" {{ print $5 }}' /proc/self/mountinfo"


def write_expected(files: Mapping[str, bytes], path: Path) -> Path:
    """Write down what readers must find."""
    path.write_text(json.dumps({name: blake2b(data).hexdigest() for name, data in files.items()}))
    return path


@contextmanager
def containers(
    targets: list[Path],
    scratch: Path,
    files: Mapping[str, bytes],
    propagation: str = "private",
    pause_seconds: float = 0.0,
) -> Iterator[list[Container]]:
    """Give one container with a reader for each target; readers pause between two files."""
    expected = write_expected(files, scratch / "expected.json")
    with ExitStack() as ends:
        made = []
        for target in targets:
            container = Container(target, scratch, expected, propagation, pause_seconds)
            ends.callback(container.close)
            made.append(container)
        yield made
