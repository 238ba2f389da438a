"""Times as the stores give them, in our unit. Pure."""

from __future__ import annotations

from datetime import UTC, datetime

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


def nanoseconds(moment: datetime) -> int:
    """Return a time as integer nanoseconds since 1970, exactly."""
    since = moment - BEGINNING
    return (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1_000
