"""Ending a process while threads of a native library may still be inside Python."""

from __future__ import annotations

import sys
import threading
import time

PAUSE_SECONDS = 0.005
QUIET_PAUSES = 3
LONGEST_SECONDS = 2.0


def let_native_threads_leave() -> None:
    """Wait until no thread but Python's own runs Python code.

    To be registered with `atexit`. A thread of obstore that hands over a result gives up the GIL
    while it wakes the event loop; when the interpreter ends before it has the GIL back, Python 3.11
    ends that thread by unwinding through Rust, which aborts the process.
    """
    deadline = time.monotonic() + LONGEST_SECONDS
    quiet = 0
    while quiet < QUIET_PAUSES and time.monotonic() < deadline:
        time.sleep(PAUSE_SECONDS)  # without the GIL, which is what they wait for
        quiet = 0 if _native_threads_inside() else quiet + 1


def _native_threads_inside() -> bool:
    ours = {thread.ident for thread in threading.enumerate()}
    return not sys._current_frames().keys() <= ours  # noqa: SLF001 - documented, for debugging
