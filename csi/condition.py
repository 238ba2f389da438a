"""What went wrong with volumes and object storage, as last seen: for the calls about health."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from csi.errors import MounterFailedError

MOST_REMEMBERED = 1000
UNREACHABLE = frozenset({"StoreUnavailableError", "DeadlineExceededError"})
"""What the mounter says when the object store does not answer."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong; `reason` is one word."""

    reason: str
    message: str


class Conditions:
    """Takes note of outcomes and asks nobody. Bounded: the oldest failures are forgotten."""

    def __init__(self) -> None:
        """Begin with nothing wrong."""
        self._failures: OrderedDict[str, Finding] = OrderedDict()
        self.storage: Finding | None = None
        """Why object storage could not be asked, the last time that it was."""

    def note_failure(self, volume_id: str, error: Exception) -> None:
        """Remember why a volume could not be published."""
        self._failures[volume_id] = Finding("PublishFailed", str(error) or type(error).__name__)
        self._failures.move_to_end(volume_id)
        if len(self._failures) > MOST_REMEMBERED:
            self._failures.popitem(last=False)

    def forget_failure(self, volume_id: str) -> None:
        """Take note that the volume is published, or that nobody wants it any more."""
        self._failures.pop(volume_id, None)

    def failure(self, volume_id: str) -> Finding | None:
        """Return why the volume could not be published the last time."""
        return self._failures.get(volume_id)

    def note_answer(self, error: MounterFailedError | None) -> None:
        """Take note of whether object storage could be asked."""
        away = error is not None and is_unreachable(error)
        self.storage = Finding("ObjectStoreUnreachable", str(error)) if away else None


def is_unreachable(error: MounterFailedError) -> bool:
    """Say whether the object store did not answer the mounter."""
    return error.name in UNREACHABLE
