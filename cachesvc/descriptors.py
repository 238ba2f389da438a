"""How many descriptors a process may have open."""

from __future__ import annotations

import resource


def raise_descriptor_limit() -> None:
    """Let this process and its children open as many descriptors as they may."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
