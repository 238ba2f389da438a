"""Having the processes that serve mounts started while it is found out what there is to mount.

Imports hardly anything: each millisecond until they start is one more until the first byte.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cachesvc.config import CacheConfig
from cachesvc.spawn import service_starting
from vfs.mounting.daemon import SUPERVISOR, daemon_starting


@contextmanager
def preparing(cache: CacheConfig) -> Iterator[None]:
    """Have supervisor and cache service started, both at once, while the block runs.

    Raises what kept one of them from starting when the block is over.
    """
    with daemon_starting(SUPERVISOR), service_starting(cache):
        yield
