"""Starting the cache service as a process of its own, and finding the one that runs."""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path

from cachesvc.ambient import NO_AMBIENT_CREDENTIALS, without_credentials
from cachesvc.config import CacheConfig
from cachesvc.detached import Starting, open_log, start_detached
from cachesvc.errors import CacheBusyError, CacheServiceError
from cachesvc.lock import unusable_directory
from cachesvc.units import MIB
from cachesvc.unixsocket import connect, is_answered

READY = "ready"

_START_SECONDS = 30.0
_POLL_SECONDS = 0.02
_PEER = struct.Struct("3i")

# glibc otherwise maps the memory of each range anew, and the kernel clears it page by page.
# Fetching 144 MiB took 41,700 page faults and 2.57 ms of CPU a MB at a threshold of 4 MiB; 21,100
# and 2.34 at 32, the largest there is (all servers, medians of 10 by turns). Two arenas: it would
# make 8 for each core, each with memory of its own. 100 to 130 MiB are private then, instead of 50,
# until `heap` gives back what is free.
_MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": str(32 * MIB),
    "MALLOC_TRIM_THRESHOLD_": str(128 * MIB),
    "MALLOC_ARENA_MAX": "2",
}


def config_to_json(config: CacheConfig) -> str:
    """Return a configuration as the one argument of the service's process."""
    return json.dumps({**asdict(config), "directory": str(config.directory)})


def config_from_json(text: str) -> CacheConfig:
    """Return the configuration that `config_to_json` wrote."""
    fields = json.loads(text)
    return CacheConfig(**{**fields, "directory": Path(fields["directory"])})


def service_command(config: CacheConfig) -> list[str]:
    """Return the command that serves *config* in the foreground.

    -P keeps the directory it is started in out of the module path.
    """
    absolute = replace(config, directory=config.directory.absolute())
    return [sys.executable, "-P", "-m", "cachesvc", config_to_json(absolute)]


def service_environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment for the service: memory settings, and no credentials.

    They come with the mounts: nothing of the person who happened to start the service is used.
    """
    return {**without_credentials(environ), **_MALLOC, **NO_AMBIENT_CREDENTIALS}


@contextmanager
def service_starting(config: CacheConfig) -> Iterator[None]:
    """Have a service started, if none answers, while the block runs; at its end one answers.

    Raises then what `ensure_service` raises.
    """
    starting = None if is_answered(config.socket) else _start(config)
    try:
        yield
    finally:
        word = READY if starting is None else starting.outcome(time.monotonic() + _START_SECONDS)
    if word != READY:
        with suppress(CacheBusyError):
            _check_word(word, config)
        ensure_service(config)


def ensure_service(config: CacheConfig, start_seconds: float = _START_SECONDS) -> None:
    """Return once a service answers on the directory, started in the background if need be.

    Blocking; may be called by many processes at once. Raises the error that kept it from starting.
    """
    deadline = time.monotonic() + start_seconds
    while not is_answered(config.socket):
        try:
            _check_word(_start(config).outcome(deadline), config)
        except CacheBusyError:
            # Somebody else is starting one, or an old one is about to end.
            if time.monotonic() > deadline:
                raise
            time.sleep(_POLL_SECONDS)


def service_pid(directory: Path) -> int | None:
    """Return the process id of the service that answers on a directory, None when none does."""
    try:
        with connect(directory / "socket") as sock:
            peer = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    except OSError:
        return None
    pid: int = _PEER.unpack(peer)[0]
    return pid


def _start(config: CacheConfig) -> Starting:
    """Start the service, which says whether it could."""
    try:
        config.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        log = open_log(config.directory / "service.log")
    except OSError as error:
        raise unusable_directory(config, error) from error
    return start_detached(service_command(config), service_environment(), log)


def _check_word(text: str, config: CacheConfig) -> None:
    """Raise the error that the service reported, if it did."""
    if text == READY:
        return
    name, _, message = text.partition(": ")
    if name == CacheBusyError.__name__:
        raise CacheBusyError(message)
    raise CacheServiceError(
        f"the cache service for {config.directory} did not start: {message or text}; "
        f"see {config.directory / 'service.log'}"
    )
