"""Whether a process lives, and waiting until it does not."""

from __future__ import annotations

import os
import select
import time
from pathlib import Path


def is_alive(pid: int) -> bool:
    """Return whether *pid* runs; a zombie, which nobody has waited for yet, does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] not in {"Z", "X"}


def wait_for_end(pid: int, seconds: float) -> bool:
    """Wait until *pid* ends, *seconds* at most; return whether it did. It need not be a child."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        deadline = time.monotonic() + seconds
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(max(0, int(1000 * (deadline - time.monotonic())))))
    finally:
        os.close(descriptor)
