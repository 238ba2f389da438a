"""The cache's settings on command lines."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from cachesvc.config import CacheConfig

T = TypeVar("T")
Command = TypeVar("Command", bound=Callable[..., Any])

_UNITS = "BKMGTP"
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([BKMGTP]?)(?:i?B)?", re.IGNORECASE)
_MIN_SIZE = 16 << 20


class SizeType(click.ParamType[int]):
    """A number of bytes such as `500M`, `50G` or `1.5TiB`; units are powers of 1024."""

    name = "size"

    def convert(
        self,
        value: object,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> int:
        """Return the bytes that a word stands for."""
        if isinstance(value, int):
            return value
        matched = _SIZE.fullmatch(str(value).strip())
        if matched is None:
            self.fail(f"{value!r} is no size; write for example 500M or 50G", param, ctx)
        return int(float(matched[1]) * 1024 ** _UNITS.index((matched[2] or "B").upper()))


def default_directory(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the user's cache directory: HEADRACE_CACHE_DIR, else one below XDG_CACHE_HOME."""
    if named := environ.get("HEADRACE_CACHE_DIR"):
        return Path(named)
    base = environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "headrace"


def directory_option(command: Command) -> Command:
    """Add `--cache-dir`, passed on as the path *cache_dir*."""
    option = click.option(
        "--cache-dir",
        type=click.Path(file_okay=False, path_type=Path),
        default=default_directory,
        show_default="$HEADRACE_CACHE_DIR, else ~/.cache/headrace",
        help="Where the node's cache lies.",
    )
    return option(command)


def cache_options(command: Callable[..., T]) -> Callable[..., T]:
    """Add `--cache-dir` and `--cache-size`, passed on as the one configuration *cache*."""

    @wraps(command)
    def configured(*args: object, cache_dir: Path, cache_size: int, **kwargs: object) -> T:
        return command(*args, cache=CacheConfig(cache_dir.absolute(), cache_size), **kwargs)

    size = click.option(
        "--cache-size",
        type=SizeType(),
        default=CacheConfig(Path()).size,
        show_default="50G",
        callback=_checked_size,
        help="How large the cache may grow; counts when its service starts.",
    )
    return directory_option(size(configured))


def _checked_size(_ctx: click.Context, _param: click.Parameter, size: int) -> int:
    """Refuse a cache that could not hold a few chunks."""
    if size < _MIN_SIZE:
        raise click.BadParameter(f"at least {_MIN_SIZE >> 20}M are needed")
    return size
