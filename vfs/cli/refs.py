"""`headrace refs`: which names a repository has, and for what."""

from __future__ import annotations

import click

from vfs.cli.options import json_option, print_json, repo_options, run, source_argument
from vfs.snapshots.dataset import Dataset, parse_dataset
from vfs.snapshots.refs import Ref
from vfs.snapshots.repository import opened_repository


@click.command()
@source_argument
@repo_options
@json_option
def refs(source: str, repo: str | None, storage_options: dict[str, str], *, as_json: bool) -> None:
    """List the refs of SOURCE: name, snapshot, when it was moved and by whom."""
    found = run(read_all, parse_dataset(source, repo, storage_options))
    if as_json:
        print_json([as_document(ref) for ref in found])
        return
    width = max((len(ref.name) for ref in found), default=0)
    for ref in found:
        click.echo(f"{ref.name:<{width}}  {ref.snapshot_id}  {ref.moved_at}  {ref.moved_by}")


async def read_all(dataset: Dataset) -> list[Ref]:
    """Return the dataset's refs, sorted by name."""
    async with opened_repository(dataset.repository) as repository:
        return await repository.refs()


def as_document(ref: Ref) -> dict[str, object]:
    """Return what a script wants to know of one ref."""
    return {
        "ref": ref.name,
        "snapshot": ref.snapshot_id,
        "moved_at": ref.moved_at,
        "moved_by": ref.moved_by,
        "previous": ref.previous_id,
    }
