"""`headrace show`: what one snapshot holds."""

from __future__ import annotations

import click

from vfs.cli import log
from vfs.cli.options import human_size, json_option, print_json, repo_options, run, source_argument
from vfs.manifest.superblock import Superblock
from vfs.snapshots.dataset import Dataset, parse_dataset
from vfs.snapshots.largest import Candidate, largest_directories
from vfs.snapshots.names import lossless, printable
from vfs.snapshots.repository import opened_repository


@click.command()
@source_argument
@click.argument("snapshot", required=False)
@repo_options
@click.option(
    "--largest",
    default=10,
    show_default=True,
    metavar="N",
    type=click.IntRange(0),
    help="Show the N largest directories.",
)
@json_option
def show(
    source: str,
    snapshot: str | None,
    repo: str | None,
    storage_options: dict[str, str],
    largest: int,
    *,
    as_json: bool,
) -> None:
    """Show what a snapshot of SOURCE holds: counts, bytes, largest directories.

    SNAPSHOT is a ref, a snapshot id or the start of one; SOURCE@SNAPSHOT says the same.
    """
    dataset = parse_dataset(source, repo, storage_options)
    name = snapshot or dataset.snapshot_or_default
    snapshot_id, block, directories = run(read_snapshot, dataset, name, largest)
    if as_json:
        print_json(as_document(snapshot_id, block, directories))
    else:
        click.echo(as_text(snapshot_id, block, directories))


async def read_snapshot(
    dataset: Dataset, name: str, largest: int
) -> tuple[str, Superblock, list[Candidate]]:
    """Return a snapshot's id, its superblock and its largest directories."""
    async with opened_repository(dataset.repository) as repository:
        found = await repository.find(name)
        tree = await repository.open_found(found)
        return found.snapshot_id, tree.superblock, await largest_directories(tree, largest)


def as_text(snapshot_id: str, block: Superblock, directories: list[Candidate]) -> str:
    """Return the snapshot's facts for a person."""
    facts = (
        ("source", block.source),
        ("parent", block.parent or "none"),
        ("files", f"{block.file_count:,}"),
        ("directories", f"{block.directory_count:,}"),
        ("symlinks", f"{block.symlink_count:,}"),
        ("bytes", f"{block.total_bytes:,} ({human_size(block.total_bytes)})"),
        ("manifest", human_size(block.manifest_size)),
    )
    lines = [log.as_text(snapshot_id, block), ""]
    lines += [f"{name:<12} {value}" for name, value in facts]
    if directories:
        lines += ["", "largest directories"]
    return "\n".join(lines + [directory_line(each) for each in directories])


def directory_line(each: Candidate) -> str:
    """Return one directory's bytes, files and path."""
    inode = each.inode
    size = human_size(inode.bytes_below)
    return f"{size:>12}  {inode.files_below:>12,} files  {printable(each.path)}"


def as_document(
    snapshot_id: str, block: Superblock, directories: list[Candidate]
) -> dict[str, object]:
    """Return what a script wants to know."""
    return {
        **log.as_document(snapshot_id, block),
        "largest_directories": [
            {
                "path": lossless(each.path),
                "files": each.inode.files_below,
                "bytes": each.inode.bytes_below,
            }
            for each in directories
        ],
    }
