"""How the driver feels: written by the event loop, read from memory by Probe and /healthz."""

from __future__ import annotations

import time
from collections.abc import Callable

from csi.errors import BrokenError

MOST_SILENT_SECONDS = 60.0
"""An event loop that gave no sign for so long will give none any more."""


class Health:
    """Whether the driver serves.

    Knows nothing of mounter, object store and API server: that one of them is away is no reason to
    restart this process.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin as one that is starting."""
        self._clock = clock
        self._ready = False
        self._last_beat = clock()

    def set_ready(self, ready: bool) -> None:
        """Take note that the driver serves, or that it does no longer."""
        self._ready = ready

    def beat(self) -> None:
        """Show that the event loop turns."""
        self._last_beat = self._clock()

    def is_ready(self) -> bool:
        """Say whether the driver serves. Raises BrokenError when it never will again."""
        silent = self._clock() - self._last_beat
        if silent > MOST_SILENT_SECONDS:
            raise BrokenError(f"the driver's event loop has not turned for {silent:.0f} s")
        return self._ready
