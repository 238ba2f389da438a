"""A user who is not root mounts, reads, lists and unmounts by fusermount3."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuse.unprivileged import NOBODY
from tests.node import HEADRACE

STORY = """
set -eu
stop_cache_service() {
    "$PYTHON" -c 'import os, pathlib, signal
from cachesvc.spawn import service_pid
from vfs.mounting.process import wait_for_end
pid = service_pid(pathlib.Path.home() / ".cache/headrace")
os.kill(pid, signal.SIGTERM)
assert wait_for_end(pid, 20)'
}
trap stop_cache_service EXIT
cd "$HOME"
mkdir source mnt run
echo content > source/file
mkdir source/closed; echo inside > source/closed/file; chmod 700 source/closed
"$HEADRACE" snapshot source
"$HEADRACE" mount source mnt
cmp source/file mnt/file
cmp source/closed/file mnt/closed/file
grep " $HOME/mnt fuse.headrace ro,nosuid,nodev," /proc/mounts
test "$(stat -c %u mnt/file)" = "$(id -u)"
"$HEADRACE" list --json | grep '"mounted": true'
for worker in $("$HEADRACE" list --json | grep -A1 '"workers"' | grep -o '[0-9]*'); do
    kill -KILL "$worker"
done
cat source/closed/file | cmp - mnt/closed/file
ls -l mnt
if "$HEADRACE" umount mnt 5< mnt/file 2> refusal; then exit 5; fi
grep "is in use" refusal
"$HEADRACE" umount mnt
test -z "$(ls -A mnt)"
if "$HEADRACE" umount mnt; then exit 3; fi
"$HEADRACE" list
if grep "$HOME" /proc/mounts; then exit 4; fi
cd "$HOME/run/headrace"
while [ -e supervisor ] || [ -e keeper ]; do sleep 0.1; done
"""
"""What such a user does, with a look at what comes of it."""


@pytest.fixture
def home() -> Iterator[Path]:
    """A home directory of the user's own."""
    made = Path(tempfile.mkdtemp(prefix="headrace-home-"))
    if os.geteuid() == 0:
        os.chown(made, NOBODY, NOBODY)
    yield made
    shutil.rmtree(made)


def test_a_user_who_is_not_root(home: Path) -> None:
    """Any user can mount by fusermount3, and gets the same mount as root would."""
    settings = f'HEADRACE="{HEADRACE}" PYTHON="{sys.executable}" XDG_RUNTIME_DIR="$HOME/run"'
    settings += " HEADRACE_IDLE_SECONDS=0.5"
    command = ["/bin/sh", "-c", f"export {settings}\n{STORY}"]
    if os.geteuid() == 0:
        command = [sys.executable, "-m", "tests.fuse.unprivileged", str(home), *command]
    done = subprocess.run(
        command,
        env={**os.environ, "HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing is mounted" in done.stdout
