"""How the processes in the background log: to stderr, a line a record, and never without bound."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

MOST_LINES = 60
WINDOW_SECONDS = 60.0


class RateLimit(logging.Filter):
    """Lets so many records of a window through, and says later how many it did not.

    Every read of an object that is gone is worth a line, and there may be a million of them.
    """

    def __init__(
        self,
        most: int = MOST_LINES,
        window_seconds: float = WINDOW_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Let *most* records through in each window, as *clock* tells the time."""
        super().__init__()
        self._most = most
        self._window_seconds = window_seconds
        self._clock = clock
        self._began = clock()
        self._count = 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether *record* is written."""
        now = self._clock()
        if now - self._began >= self._window_seconds:
            left_out = max(0, self._count - self._most)
            self._began, self._count = now, 0
            if left_out:
                record.msg = f"{record.getMessage()} ({left_out} lines before it were left out)"
                record.args = ()
        self._count += 1
        return self._count <= self._most


def log_to_stderr(role: str) -> None:
    """Let this process log as *role*: the whole set-up, to be called once."""
    logging.basicConfig(
        level=logging.INFO,
        format=f"%(asctime)s %(levelname)s {role}[%(process)d]: %(message)s",
        force=True,
    )
    for handler in logging.getLogger().handlers:
        handler.addFilter(RateLimit())
