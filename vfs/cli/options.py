"""What the commands share on their command lines: which dataset is meant, and how to run on it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, ParamSpec, TypeVar

import anyio
import click

P = ParamSpec("P")
T = TypeVar("T")
Command = TypeVar("Command", bound=Callable[..., Any])


def parse_storage_options(
    _ctx: click.Context, _param: click.Parameter, words: Sequence[str]
) -> dict[str, str]:
    """Turn `KEY=VALUE` words into a mapping; the last of equal keys counts."""
    pairs = [word.partition("=") for word in words]
    for word, (key, equals, _) in zip(words, pairs, strict=True):
        if not key or not equals:
            raise click.BadParameter(f"{word!r} is not KEY=VALUE")
    return {key: value for key, _, value in pairs}


source_argument = click.argument("source", metavar="SOURCE[@SNAPSHOT]")
"""The dataset: a path or URL, and after an @ a ref, a snapshot id or the start of one."""

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for a script.")


def repo_options(command: Command) -> Command:
    """Add `--repo` and `--storage-option`, which stand wherever SOURCE does."""
    repository = click.option(
        "--repo",
        metavar="URL",
        help="Where the snapshots lie, if not in SOURCE/.headrace.",
    )
    options = click.option(
        "--storage-option",
        "storage_options",
        multiple=True,
        metavar="KEY=VALUE",
        callback=parse_storage_options,
        help="A setting of the object store, such as endpoint_url=URL; may be repeated.",
    )
    return repository(options(command))


def run(function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run an async function to its end on the loop that the object stores' engines need."""
    return anyio.run(partial(function, *args, **kwargs), backend="asyncio")


def print_json(value: object) -> None:
    """Print *value* on stdout as one JSON document."""
    click.echo(json.dumps(value, indent=2))


def human_size(size: float) -> str:
    """Return a number of bytes as a person writes it: `1.5 GiB`."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if size < 1024 or unit == "TiB":
            break
        size /= 1024
    return f"{size:,.0f} {unit}" if unit == "B" else f"{size:,.1f} {unit}"
