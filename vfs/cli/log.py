"""`headrace log`: a snapshot and the ones before it."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from vfs.cli.options import human_size, json_option, print_json, repo_options, run, source_argument
from vfs.manifest.superblock import Superblock
from vfs.snapshots.dataset import Dataset, parse_dataset
from vfs.snapshots.repository import opened_repository


@click.command()
@source_argument
@repo_options
@click.option("-n", "--count", type=click.IntRange(1), help="Show at most so many.")
@json_option
def log(
    source: str,
    repo: str | None,
    storage_options: dict[str, str],
    count: int | None,
    *,
    as_json: bool,
) -> None:
    """Show a snapshot of SOURCE and the ones it was built on, the latest first."""
    dataset = parse_dataset(source, repo, storage_options)
    documents = run(read_log, dataset, count, show=not as_json)
    if as_json:
        print_json(documents)


async def read_log(dataset: Dataset, count: int | None, *, show: bool) -> list[dict[str, object]]:
    """Return the documents of all snapshots; with *show*, print each as soon as it is found."""
    documents = []
    async with opened_repository(dataset.repository) as repository:
        async for snapshot_id, block in repository.history(dataset.snapshot_or_default, count):
            documents.append(as_document(snapshot_id, block))
            if show:
                click.echo(as_text(snapshot_id, block))
    return documents


def as_text(snapshot_id: str, block: Superblock) -> str:
    """Return one snapshot's paragraph."""
    facts = f"{block.file_count:,} files, {human_size(block.total_bytes)}"
    hashed = ", hashed" if block.hashed else ""
    lines = [f"snapshot {snapshot_id}", f"    {created_at(block)}  {facts}{hashed}"]
    return "\n".join(lines + [f"    {line}" for line in block.message.splitlines()])


def as_document(snapshot_id: str, block: Superblock) -> dict[str, object]:
    """Return what a script wants to know of one snapshot."""
    return {
        "snapshot": snapshot_id,
        "parent": block.parent,
        "created_at": created_at(block),
        "message": block.message,
        "source": block.source,
        "files": block.file_count,
        "directories": block.directory_count,
        "symlinks": block.symlink_count,
        "bytes": block.total_bytes,
        "manifest_bytes": block.manifest_size,
        "hashed": block.hashed,
    }


def created_at(block: Superblock) -> str:
    """Return when the snapshot was made, in UTC."""
    moment = datetime.fromtimestamp(block.created_ns // 10**9, UTC)
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
