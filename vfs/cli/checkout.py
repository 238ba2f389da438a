"""`headrace checkout`: show another snapshot under a live mount."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from vfs.cli.options import json_option, print_json
from vfs.cli.target import key_of
from vfs.errors import MountError
from vfs.mounting.ask import ask_supervisor
from vfs.mounting.mount import resolve_mountpoint

CHECKOUT_SECONDS = 600


@click.command()
@click.argument("name", metavar="REF")
@click.argument("mountpoint", type=Path)
@json_option
def checkout(name: str, mountpoint: Path, *, as_json: bool) -> None:
    """Let the mount at MOUNTPOINT show the snapshot REF from now on, without unmounting.

    REF is a ref, a snapshot id or the start of one. What did not change stays as it is, page cache
    and working directories included; an open file goes on with the version it was opened in.
    """
    target = resolve_mountpoint(mountpoint)
    answer = ask_supervisor("checkout", CHECKOUT_SECONDS, key=key_of(target), name=name)
    if answer.kind != "switched":
        raise MountError(f"{target}: {answer.fields['error']}")
    if as_json:
        print_json(answer.fields)
    else:
        click.echo(in_words(target, answer.fields))


def in_words(target: Path, switched: Mapping[str, Any]) -> str:
    """Return one line on what a switch has changed."""
    if switched["old"] == switched["new"]:
        return f"{target} shows {switched['new'][:12]} already"
    counts = switched["counts"]
    return (
        f"{target} went from {switched['old'][:12]} to {switched['new'][:12]}: "
        f"{counts['changed']} files changed, {counts['added']} added, {counts['removed']} removed"
    )
