"""The cache service's process: `python -m cachesvc CONFIG [FD]`, started by `cachesvc.spawn`.

With FD it goes to the background and writes one line there: that it is ready, or why it is not.
"""

from __future__ import annotations

import faulthandler
import logging
import sys

import anyio

from cachesvc.config import CacheConfig
from cachesvc.descriptors import raise_descriptor_limit
from cachesvc.detached import detach, tell
from cachesvc.errors import HeadraceError
from cachesvc.lock import ServiceLock
from cachesvc.logs import log_to_stderr
from cachesvc.service import CacheService
from cachesvc.spawn import READY, config_from_json
from cachesvc.store.marker import crash_log_path


def main() -> int:
    """Serve until told to stop; return the exit code."""
    config = config_from_json(sys.argv[1])
    starter = int(sys.argv[2]) if len(sys.argv) > 2 else None
    if starter is not None:
        detach()
    raise_descriptor_limit()  # one a client, one a request: more than the usual 1,024
    log_to_stderr("cachesvc")
    # A line for each retry and response; what matters comes as an error of ours.
    logging.getLogger("botocore").setLevel(logging.WARNING)
    try:
        _serve(config, starter)
    except HeadraceError as error:
        tell(starter, f"{type(error).__name__}: {error}")
        sys.stderr.write(f"headrace: {error}\n")
        return 1
    return 0


def _serve(config: CacheConfig, starter: int | None) -> None:
    """Take the directory and serve it."""
    lock = ServiceLock(config)
    with crash_log_path(config.directory).open("ab") as crash_log:
        # What is written there when LMDB aborts tells the next start to distrust the files.
        faulthandler.enable(crash_log)
        anyio.run(_live, config, lock, starter, backend="asyncio")
        faulthandler.disable()


async def _live(config: CacheConfig, lock: ServiceLock, starter: int | None) -> None:
    """Make the service where it has an event loop, and run it."""
    await CacheService(config, lock).run(lambda: tell(starter, READY))


if __name__ == "__main__":
    sys.exit(main())
