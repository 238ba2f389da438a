"""Which mount a person means by a path."""

from __future__ import annotations

from pathlib import Path

from vfs.errors import MountError
from vfs.mounting.mountinfo import MountInfo, mounted_at
from vfs.mounting.state import MountState, all_states


def key_of(target: Path) -> str:
    """Return the key of the live mount at *target*. Raises MountError."""
    live = mounted_at(target)
    state = state_at(target, live)
    if live is None or state is None:
        raise MountError(f"nothing of headrace's is mounted at {target}; see 'headrace list'")
    return state.key


def state_at(target: Path, live: MountInfo | None) -> MountState | None:
    """Return what is on record of the mount at *target*, or of one that is gone from there."""
    states = [state for state in all_states() if state.mountpoint == str(target)]
    if live is not None:
        states = [state for state in states if state.connection == live.minor]
    return states[-1] if states else None
