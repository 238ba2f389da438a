"""Questions to file systems that may never answer, asked by child processes with a deadline.

A process that waits for a sick mount cannot be ended, not even by SIGKILL: it must not be this one.
"""

from __future__ import annotations

import errno
import json
import os
import select
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cachesvc.errors import CacheUnusableError

ANSWER_SECONDS = 5.0
_PROBE_SIZE = 4096


@dataclass(frozen=True, slots=True)
class Question:
    """What to ask (a key of ABILITIES), and of which path."""

    topic: str
    path: Path


Answer = dict[str, Any]
"""`error` is empty when all is well; the rest depends on the topic."""


def ask_children(
    questions: Sequence[Question], seconds: float = ANSWER_SECONDS
) -> list[Answer | None]:
    """Return the answers in order, None for each that did not come within *seconds*."""
    children = [_start(question) for question in questions]
    deadline = time.monotonic() + seconds
    return [_answer_of(pid, reader, deadline) for pid, reader in children]


def _start(question: Question) -> tuple[int, int]:
    reader, writer = os.pipe()
    words = [sys.executable, "-P", "-m", "vfs.doctor.child", question.topic, str(question.path)]
    try:
        pid = os.posix_spawn(
            words[0],
            words,
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, writer, 1),
                (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
            ],
        )
    finally:
        os.close(writer)
    return pid, reader


def _answer_of(pid: int, reader: int, deadline: float) -> Answer | None:
    with os.fdopen(reader) as answer_pipe:
        if not select.select([reader], [], [], max(0.0, deadline - time.monotonic()))[0]:
            os.kill(pid, signal.SIGKILL)  # not waited for: it may take for ever
            return None
        text = answer_pipe.read()
    os.waitpid(pid, 0)
    answer: Answer = json.loads(text) if text else {"error": "looking at it kills the process"}
    return answer


def _look_at_mount(path: Path) -> Answer:
    # statfs always asks the server; the root's attributes are in the kernel.
    os.statvfs(path)
    return {}


def _look_at_directory(path: Path) -> Answer:
    real = path.resolve()
    space = os.statvfs(real)
    with tempfile.TemporaryFile(dir=real) as probe:
        probe.write(b"\0" * _PROBE_SIZE)
        probe.flush()
    return {"path": str(real), "free": space.f_bavail * space.f_frsize}


def _look_at_store(path: Path) -> Answer:
    # The other questions need no LMDB.
    from cachesvc.store.chunkreader import ChunkReader  # noqa: PLC0415
    from cachesvc.store.layout import store_path  # noqa: PLC0415

    if not store_path(path).exists():
        return {}
    try:
        ChunkReader(path).close()
    except CacheUnusableError as error:
        return {"error": str(error)}
    return {}


ABILITIES: dict[str, Callable[[Path], Answer]] = {
    "mount": _look_at_mount,
    "directory": _look_at_directory,
    "store": _look_at_store,
}


def main() -> None:
    """Answer one question on standard output."""
    topic, path = sys.argv[1:]
    try:
        answer = {"error": "", **ABILITIES[topic](Path(path))}
    except OSError as error:
        answer = {"error": errno.errorcode.get(error.errno or 0, str(error))}
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()
