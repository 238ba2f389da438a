"""How many mounts a node has memory for: refused in time, before the mounter meets its limit."""

from __future__ import annotations

from csi.errors import ExhaustedError


class Budget:
    """Reckons with what one worker takes; knows nothing of what is really used."""

    def __init__(self, total_bytes: int | None, worker_bytes: int) -> None:
        """Have room for *total_bytes* of workers at *worker_bytes* each; None is no limit."""
        self._most = None if total_bytes is None else total_bytes // worker_bytes

    def admits(self, used: int, wanted: int) -> bool:
        """Say whether there is room for *wanted* more workers beside *used* ones."""
        return self._most is None or used + wanted <= self._most

    def check(self, used: int, wanted: int) -> None:
        """Raise ExhaustedError when *wanted* more workers beside *used* ones are too many."""
        if not self.admits(used, wanted):
            raise ExhaustedError(
                f"this node has memory for {self._most} workers of mounts, and {used} run; "
                "wait until pods end, or raise the memory budget"
            )
