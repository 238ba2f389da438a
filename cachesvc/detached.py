"""Starting a process in the background: it detaches itself, and says in one line how that went."""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

MAX_LOG_SIZE = 8 << 20
TOO_SLOW = "no answer in time"
DIED = "it died"


def start_detached(
    command: Sequence[str], environment: Mapping[str, str], log: IO[bytes], deadline: float
) -> str:
    """Run *command* with one more argument and return the line that it writes there.

    The argument is the number of a descriptor (see `tell`). What the process says otherwise goes to
    *log*, which is closed here. It must `detach`, so that nobody has to reap it.
    """
    reader, writer = os.pipe()
    with os.fdopen(reader) as word:
        try:
            with log:
                process = subprocess.Popen(
                    [*command, str(writer)],
                    env=dict(environment),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd="/",
                    pass_fds=(writer,),
                )
        finally:
            os.close(writer)
        try:
            return _read_word(word, deadline)
        finally:
            process.wait()


def _read_word(word: IO[str], deadline: float) -> str:
    readable, _, _ = select.select([word], [], [], max(0.0, deadline - time.monotonic()))
    return (word.readline().strip() or DIED) if readable else TOO_SLOW


def open_log(path: Path) -> IO[bytes]:
    """Open a log for appending; a large one starts anew."""
    if path.exists() and path.stat().st_size > MAX_LOG_SIZE:
        path.replace(path.with_suffix(".log.old"))
    return path.open("ab")


def detach() -> bool:
    """Fork, and return True in the parent; the child has a session of its own."""
    if os.fork():
        return True
    os.setsid()
    return False


def tell(starter: int | None, word: str) -> None:
    """Write the one line that whoever started this process waits for, if they still do."""
    if starter is not None:
        with suppress(BrokenPipeError), os.fdopen(starter, "w") as pipe:
            pipe.write(f"{word}\n")
