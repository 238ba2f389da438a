"""Starting a process in the background: it detaches itself, and says in one line how that went."""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

MAX_LOG_SIZE = 8 << 20
TOO_SLOW = "no answer in time"
DIED = "it died"


@dataclass(frozen=True, slots=True)
class Starting:
    """A process that has been started and has not said yet how that went."""

    process: subprocess.Popen[bytes]
    word: IO[str]

    def outcome(self, deadline: float) -> str:
        """Return the line that it writes, waiting for it until *deadline*. To be asked once."""
        with self.word:
            try:
                return read_word(self.word, deadline)
            finally:
                self.process.wait()


def start_detached(
    command: Sequence[str], environment: Mapping[str, str], log: IO[bytes]
) -> Starting:
    """Run *command* with one more argument; the caller asks for its `outcome`.

    The argument is the number of a descriptor (see `tell`). What the process says otherwise goes to
    *log*, which is closed here. It must `detach`, so that nobody has to reap it.
    """
    reader, writer = os.pipe()
    word = os.fdopen(reader)
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
    except BaseException:
        word.close()
        raise
    finally:
        os.close(writer)
    return Starting(process, word)


def read_word(word: IO[str], deadline: float) -> str:
    """Return the line that is written there until *deadline*, or what became of it."""
    readable, _, _ = select.select([word], [], [], max(0.0, deadline - time.monotonic()))
    return (word.readline().strip() or DIED) if readable else TOO_SLOW


def open_log(path: Path) -> IO[bytes]:
    """Open a log for appending; a large one starts anew."""
    if path.exists() and path.stat().st_size > MAX_LOG_SIZE:
        path.replace(path.with_suffix(".log.old"))
    return path.open("ab")


def detach() -> None:
    """Go on in a child with a session of its own. This process ends here.

    At once: to tidy up an interpreter takes 10 ms, and whoever started it waits for its end.
    """
    if os.fork():
        os._exit(0)
    os.setsid()


def tell(starter: int | None, word: str) -> None:
    """Write the one line that whoever started this process waits for, if they still do."""
    if starter is not None:
        with suppress(BrokenPipeError), os.fdopen(starter, "w") as pipe:
            pipe.write(f"{word}\n")
