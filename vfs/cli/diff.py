"""`headrace diff`: what changed from one snapshot to another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import click

from vfs.cli.options import json_option, print_json, repo_options, run, source_argument
from vfs.manifest.difference import Change, difference
from vfs.manifest.inode import Inode, Kind
from vfs.snapshots.dataset import Dataset, parse_dataset
from vfs.snapshots.names import lossless, printable
from vfs.snapshots.repository import opened_repository


@dataclass(frozen=True, slots=True)
class Compared:
    """Which snapshots were compared, and how many pages of their manifests that took."""

    old_id: str
    new_id: str
    pages_read: int


@click.command()
@source_argument
@click.argument("old", metavar="A")
@click.argument("new", metavar="B")
@repo_options
@click.option("-v", "--verbose", is_flag=True, help="Say how many pages were read.")
@json_option
def diff(
    source: str,
    old: str,
    new: str,
    repo: str | None,
    storage_options: dict[str, str],
    *,
    verbose: bool,
    as_json: bool,
) -> None:
    """Show what changed in SOURCE from snapshot A to snapshot B.

    Prints a line for each path: A added, D removed, M changed. A directory is listed when it came,
    went, or changed itself. Only what differs is read, however large the snapshots are.
    """
    dataset = parse_dataset(source, repo, storage_options)
    changes: list[dict[str, object]] = []
    show = (lambda change: changes.append(as_document(change))) if as_json else print_change
    compared = run(compare, dataset, old, new, show)
    if as_json:
        print_json(
            {
                "old": compared.old_id,
                "new": compared.new_id,
                "pages_read": compared.pages_read,
                "changes": changes,
            }
        )
    elif verbose:
        click.echo(f"{compared.pages_read} pages read", err=True)


async def compare(dataset: Dataset, old: str, new: str, show: Callable[[Change], None]) -> Compared:
    """Call *show* with every change from the snapshot *old* to *new*."""
    async with opened_repository(dataset.repository) as repository:
        a, b = await repository.open(old), await repository.open(new)
        async for change in difference(a, b):
            if is_worth_saying(change):
                show(change)
        return Compared(a.snapshot_id, b.snapshot_id, a.pages_read + b.pages_read)


def is_worth_saying(change: Change) -> bool:
    """Leave out what is no news by itself.

    That is a directory in which something changed, and a file of which all that changed is whether
    its content hashes are known.
    """
    old, new = change.old, change.new
    if old is None or new is None or new.kind is Kind.SYMLINK:
        return True
    if new.kind is Kind.DIRECTORY:
        return old.mode != new.mode or old.digest == new.digest
    return old.hashed == new.hashed or facts(old) != facts(new)


def facts(file: Inode) -> tuple[object, ...]:
    """Return all that is known of a file but its content hashes."""
    return file.size, file.mode, file.mtime_ns, file.version


def print_change(change: Change) -> None:
    """Print one line."""
    slash = "/" if kind_of(change) is Kind.DIRECTORY else ""
    click.echo(f"{change.kind.value} {printable(change.path)}{slash}")


def as_document(change: Change) -> dict[str, object]:
    """Return what a script wants to know of one change."""
    return {
        "change": change.kind.value,
        "path": lossless(change.path),
        "kind": kind_of(change).name.lower(),
        "old_size": None if change.old is None else change.old.size,
        "new_size": None if change.new is None else change.new.size,
    }


def kind_of(change: Change) -> Kind:
    """Return what lies, or lay, at the path."""
    inode = change.new or change.old
    return Kind.FILE if inode is None else inode.kind
