"""What a mount went through, counted by its supervisor; workers come and go, the counts stay."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import trio

from vfs.serving.tally import Tally


@dataclass(slots=True)
class Counting:
    """Counts of one mount. A takeover is a worker that follows one that is gone."""

    takeovers: int = 0
    renewals: int = 0
    clock: Callable[[], float] = trio.current_time
    _past: Tally = field(default_factory=Tally)
    _stall_seconds: float = 0.0
    _stalled_since: float | None = None

    def begin_stall(self) -> None:
        """Take note that nobody serves."""
        if self._stalled_since is None:
            self._stalled_since = self.clock()

    def end_stall(self) -> None:
        """Take note that somebody serves."""
        self._stall_seconds = self._stalled_for()
        self._stalled_since = None

    def keep(self, tally: Tally) -> None:
        """Add the last word of a worker that is gone."""
        self._past += tally

    def status(self, tallies: Iterable[Tally]) -> dict[str, int | float]:
        """Return all counts by name, with those of the workers that are there."""
        total = sum(tallies, self._past)
        return {
            "takeovers": self.takeovers,
            "renewals": self.renewals,
            "stall_seconds": round(self._stalled_for(), 3),
            **total.fields(),
        }

    def _stalled_for(self) -> float:
        since = self._stalled_since
        return self._stall_seconds + (0.0 if since is None else self.clock() - since)
