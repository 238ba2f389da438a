"""`headrace snapshot`: publish what a source holds now."""

from __future__ import annotations

from typing import Any, BinaryIO

import click

from cachesvc.options import SizeType
from vfs.cli.options import (
    human_size,
    json_option,
    print_json,
    repo_options,
    run,
    source_argument,
)
from vfs.cli.progress import shown_progress
from vfs.snapshots.dataset import DEFAULT_REF, Dataset, parse_dataset
from vfs.snapshots.packplan import LARGEST_PACKED, PACK_BELOW, PackOptions, order_of
from vfs.snapshots.publish import Published, PublishOptions, publish

MESSAGE_SIZE_LIMIT = 4096


@click.command()
@source_argument
@repo_options
@click.option("--ref", metavar="NAME", help=f"The ref to move.  [default: {DEFAULT_REF}]")
@click.option("--message", "-m", default="", metavar="TEXT", help="What this version is about.")
@click.option("--hash", "hashed", is_flag=True, help="Read all data and record its checksums.")
@click.option("--strict", is_flag=True, help="Fail on names that a snapshot cannot show.")
@click.option("--pack", is_flag=True, help="Copy small files into large objects: packs.")
@click.option(
    "--pack-below",
    type=SizeType(),
    default=PACK_BELOW,
    show_default="1M",
    metavar="SIZE",
    help="With --pack: how large a small file is at most.",
)
@click.option(
    "--pack-order",
    type=click.File("rb"),
    metavar="FILE",
    help="With --pack: paths in the order in which to pack them, one a line.",
)
@json_option
def snapshot(
    source: str,
    repo: str | None,
    storage_options: dict[str, str],
    ref: str | None,
    message: str,
    *,
    hashed: bool,
    strict: bool,
    pack: bool,
    pack_below: int,
    pack_order: BinaryIO | None,
    as_json: bool,
) -> None:
    """Publish what SOURCE holds now as a snapshot, and let a ref name it.

    No data is copied, unless with --pack: the snapshot lists every file with its place and version
    in the store. Prints the snapshot's id, and nothing else, on stdout.
    """
    if len(message.encode("utf-8", "surrogateescape")) > MESSAGE_SIZE_LIMIT:
        raise click.BadParameter(f"longer than {MESSAGE_SIZE_LIMIT} bytes", param_hint="--message")
    dataset = parse_dataset(source, repo, storage_options)
    packing = pack_options(pack_below, pack_order) if pack else None
    options = PublishOptions(chosen_ref(dataset, ref), message, hashed, strict, packing)
    with shown_progress() as progress:
        published = run(publish, dataset, options, progress)
    report(published)
    if as_json:
        print_json(as_document(published))
    else:
        click.echo(published.snapshot_id)


def chosen_ref(dataset: Dataset, ref: str | None) -> str:
    """Return the ref to move: SOURCE@REF and --ref say the same thing, but not two things."""
    if ref is not None and dataset.snapshot not in {None, ref}:
        raise click.UsageError(f"--ref {ref} and SOURCE@{dataset.snapshot} name two refs")
    return ref or dataset.snapshot_or_default


def pack_options(below: int, order: BinaryIO | None) -> PackOptions:
    """Return what to pack."""
    if not 0 < below <= LARGEST_PACKED:
        raise click.BadParameter(
            f"between 1 and {human_size(LARGEST_PACKED)}", param_hint="--pack-below"
        )
    return PackOptions(below, order_of(order) if order else {})


def report(published: Published) -> None:
    """Say on stderr what was published and what was left out."""
    for line in published.skipped.lines():
        click.echo(f"skipped {line}", err=True)
    counts = f"{published.written.file_count:,} files"
    total = human_size(published.written.total_bytes)
    if published.packed.file_count:
        packed = published.packed
        click.echo(
            f"{packed.file_count:,} files lie in packs, {packed.files_packed:,} of them in "
            f"{packed.packs_made:,} new ones",
            err=True,
        )
    if published.moved:
        click.echo(f"{published.ref} is now this snapshot of {counts}, {total}", err=True)
    else:
        click.echo(
            f"nothing changed: {published.ref} already has these {counts}, {total}", err=True
        )


def as_document(published: Published) -> dict[str, Any]:
    """Return what a script wants to know."""
    written = published.written
    return {
        "snapshot": published.snapshot_id,
        "ref": published.ref,
        "moved": published.moved,
        "files": written.file_count,
        "directories": written.directory_count,
        "symlinks": written.symlink_count,
        "bytes": written.total_bytes,
        "manifest_bytes": published.manifest_size,
        "packed_files": published.packed.file_count,
        "newly_packed_files": published.packed.files_packed,
        "new_packs": published.packed.packs_made,
        "listing_seconds": round(published.listing_seconds, 3),
        "skipped": {reason.name.lower(): n for reason, n in published.skipped.counts.items()},
    }
