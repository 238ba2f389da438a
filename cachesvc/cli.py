"""`headrace cache`: run the node's cache service, look at it, check it, tidy it up."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import click

from cachesvc.admin import collect_alone, describe, verify_alone
from cachesvc.ask import ask_service
from cachesvc.config import CacheConfig
from cachesvc.errors import CacheBusyError, CacheServiceError, CacheUnusableError
from cachesvc.lock import ServiceLock
from cachesvc.options import cache_options, directory_option
from cachesvc.spawn import service_command, service_environment
from cachesvc.store.chunkstore import ChunkStore
from cachesvc.unixsocket import is_answered

_STOP_SECONDS = 60.0
_POLL_SECONDS = 0.05

_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for a script.")


@click.group()
def cache() -> None:
    """Run, inspect and tidy up the node's cache."""


@cache.command()
@cache_options
def serve(cache: CacheConfig) -> None:
    """Serve the cache in the foreground. Mounts start it by themselves where none runs."""
    command = service_command(cache)
    os.execve(command[0], command, service_environment())


@cache.command()
@directory_option
@_json_option
def stats(cache_dir: Path, *, as_json: bool) -> None:
    """Show how full the cache is, and what its service has done."""
    _print(_answer(cache_dir, "stats", describe), as_json=as_json)


@cache.command()
@directory_option
@_json_option
def verify(cache_dir: Path, *, as_json: bool) -> None:
    """Compare every chunk with its checksum; bad ones are dropped, and fetched when read."""
    _print(_answer(cache_dir, "verify", verify_alone), as_json=as_json)


@cache.command()
@directory_option
@_json_option
def gc(cache_dir: Path, *, as_json: bool) -> None:
    """Evict down to the low watermark and free what dead readers held."""
    _print(_answer(cache_dir, "gc", collect_alone), as_json=as_json)


@cache.command()
@directory_option
def stop(cache_dir: Path) -> None:
    """Stop the service; mounts start it again when they need it."""
    config = CacheConfig(cache_dir.absolute())
    if not is_answered(config.socket):
        raise CacheServiceError(f"no cache service runs on {config.directory}")
    anyio.run(ask_service, config.directory, "stop", backend="asyncio")
    _await_end(config)


def _await_end(config: CacheConfig) -> None:
    """Wait until the service has let go of its directory."""
    deadline = time.monotonic() + _STOP_SECONDS
    while True:
        try:
            ServiceLock(config).close()
        except CacheBusyError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_POLL_SECONDS)
        else:
            return


def _answer(
    directory: Path,
    topic: str,
    alone: Callable[[ChunkStore], dict[str, Any]],
) -> dict[str, Any]:
    """Ask the service; where none runs, take its place for a moment."""
    config = CacheConfig(directory.absolute())
    if is_answered(config.socket):
        return anyio.run(ask_service, config.directory, topic, backend="asyncio")
    if not config.directory.is_dir():
        raise CacheUnusableError(f"there is no cache in {config.directory}")
    lock = ServiceLock(config)
    try:
        store = ChunkStore(config)
        try:
            return alone(store)
        finally:
            store.close()
    finally:
        lock.close()


def _print(answer: dict[str, Any], *, as_json: bool) -> None:
    """Print an answer for a person or for a script."""
    if as_json:
        click.echo(json.dumps(answer, indent=2))
        return
    width = max(map(len, answer))
    for name, value in answer.items():
        shown = f"{value:,}" if isinstance(value, int) and name != "pid" else value
        click.echo(f"{name.replace('_', ' '):<{width}}  {shown}")
