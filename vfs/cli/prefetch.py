"""`headrace prefetch`: bring files of a live mount into the node's cache before they are read."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from cachesvc.errors import UsageError
from cachesvc.options import SizeType
from vfs.cli.bars import LINE_SECONDS, shown_bars
from vfs.cli.options import human_size, json_option, print_json
from vfs.cli.target import key_of
from vfs.errors import MountError
from vfs.mounting.ask import ask_supervisor
from vfs.mounting.mount import resolve_mountpoint
from vfs.mounting.patterns import EVERYTHING, PathPattern
from vfs.mounting.prefetched import Prefetched, Terms

if TYPE_CHECKING:
    from rich.progress import Progress

START_SECONDS = 60

Show = Callable[[Prefetched], None]


class BandwidthType(SizeType):
    """A number of bytes a second such as `100MB/s`; units are powers of 1024."""

    name = "bandwidth"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """Return the bytes a second that a word stands for."""
        word = value.removesuffix("/s") if isinstance(value, str) else value
        return super().convert(word, param, ctx)


@click.command()
@click.argument("mountpoint", type=Path)
@click.argument("pattern", required=False)
@click.option(
    "--order",
    "names",
    type=click.File("rb"),
    metavar="FILE",
    help="Fetch the files that FILE names, one path a line, in this order; - is standard input.",
)
@click.option(
    "--bandwidth", type=BandwidthType(), default=0, help="Fetch no faster, such as 100MB/s."
)
@click.option(
    "--follow",
    is_flag=True,
    help="When the cache is full, stay and fetch on as files are read; keep what is wanted next.",
)
@click.option(
    "--window",
    type=SizeType(),
    default=0,
    help="With --follow: fetch no more than this ahead of who reads, such as 20G; else half of the "
    "cache.",
)
@json_option
def prefetch(
    mountpoint: Path,
    pattern: str | None,
    names: BinaryIO | None,
    bandwidth: int,
    window: int,
    *,
    follow: bool,
    as_json: bool,
) -> None:
    """Have files of the mount at MOUNTPOINT fetched now, all or those that match PATTERN.

    PATTERN is relative to MOUNTPOINT: * and ? stand for characters of one name, ** for any depth; a
    directory stands for all below it. Ends when all is in the node's cache, or the cache is full;
    with --follow when all was read, or when all was fetched and readers have paused for a minute.
    What somebody reads meanwhile goes first.
    """
    if pattern is not None and names is not None:
        raise UsageError("name a PATTERN or --order; see 'headrace prefetch --help'")
    if window and not follow:
        raise UsageError("--window is how far ahead of readers to be: say --follow as well")
    PathPattern(pattern or EVERYTHING)
    target = resolve_mountpoint(mountpoint)
    question = {
        "key": key_of(target),
        "pattern": pattern or EVERYTHING,
        "terms": Terms(bandwidth, window, follow).to_json(),
    }
    listing = [] if names is None else [_descriptor_of(names)]
    with _ordered(target, question, listing) as reports, _shown(quiet=as_json) as show:
        done = _followed(target, reports, show)
    if as_json:
        print_json(done.to_json())
    else:
        click.echo(in_words(target, done, "fetched and followed" if follow else "in the cache"))
    if done.failed_count:
        raise MountError(f"{target}: {done.failed_count} chunks could not be fetched: {done.error}")


@contextmanager
def _ordered(
    target: Path, question: dict[str, Any], listing: Sequence[int]
) -> Iterator[Iterator[dict[str, Any]]]:
    """Have the supervisor start it; yield its reports. Leaving the block ends it."""
    reader, writer = os.pipe()
    with open(reader, "rb") as lines:
        try:
            descriptors = (writer, *listing)
            answer = ask_supervisor("prefetch", START_SECONDS, descriptors, **question)
        finally:
            os.close(writer)
        if answer.kind != "prefetching":
            raise MountError(f"{target}: {answer.fields['error']}")
        yield map(json.loads, lines)


def _followed(target: Path, reports: Iterator[dict[str, Any]], show: Show) -> Prefetched:
    """Show reports as they come; return the last one. Raises MountError."""
    for report in reports:
        match report:
            case {"progress": progress}:
                show(Prefetched(**progress))
            case {"done": done}:
                return Prefetched(**done)
            case {"error": error}:
                raise MountError(f"{target}: {error}")
    raise MountError(
        f"{target}: prefetching was interrupted; what is fetched is kept: do it again, "
        "after 'headrace upgrade --all' if headrace was installed anew"
    )


def _descriptor_of(names: BinaryIO) -> int:
    """Return a descriptor from which a list can be read by another process."""
    try:
        return names.fileno()
    except OSError:
        raise UsageError("--order: this is no file that another process could read") from None


@contextmanager
def _shown(*, quiet: bool) -> Iterator[Show]:
    """Show progress on stderr for the length of a block: a bar on a terminal, lines elsewhere."""
    if quiet or not sys.stderr.isatty():
        yield _Lines(quiet=quiet)
        return
    with shown_bars() as bars:
        yield _Bar(bars)


class _Bar:
    """One bar for chunks; it pulses while names are still looked up."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._task = bars.add_task("prefetch", total=None, amount="")

    def __call__(self, prefetched: Prefetched) -> None:
        self._bars.update(
            self._task,
            completed=prefetched.filled_count,
            total=prefetched.chunk_count if prefetched.is_listed else None,
            amount=amount_text(prefetched),
        )


class _Lines:
    """A line now and then, or none."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._shown_at = time.monotonic()

    def __call__(self, prefetched: Prefetched) -> None:
        now = time.monotonic()
        if not self._quiet and now - self._shown_at >= LINE_SECONDS:
            self._shown_at = now
            click.echo(f"prefetch: {amount_text(prefetched)}", err=True)


def amount_text(prefetched: Prefetched) -> str:
    """Say how much is there, and how much came."""
    return (
        f"{prefetched.filled_count:,} of {prefetched.chunk_count:,} chunks, "
        f"{human_size(prefetched.fetched_size)} fetched"
    )


def in_words(target: Path, done: Prefetched, end: str) -> str:
    """Return one line on what is in the cache now, if it came to this *end*."""
    files = f"{target}: {done.file_count:,} files, {human_size(done.file_size)}"
    missing = f"; {done.missing_count:,} names are no files" if done.missing_count else ""
    if done.is_full:
        return f"{files}; the cache is full at {amount_text(done)}{missing}"
    if left_out := done.chunk_count - done.filled_count:
        return f"{files}; {left_out:,} chunks are too many for one order: do it again{missing}"
    return f"{files} {end}, {human_size(done.fetched_size)} of them fetched now{missing}"
