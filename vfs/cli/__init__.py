"""The `headrace` command: finds sub-commands, makes errors one line and a code."""

from __future__ import annotations

import logging
import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, NoReturn

import click

from cachesvc.errors import HeadraceError, UsageError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoints

OWN_COMMANDS = {
    name: name
    for name in (
        *("snapshot", "log", "refs", "show", "diff"),
        *("mount", "umount", "upgrade", "checkout", "prefetch", "doctor"),
        *("keeper", "mounter"),
    )
} | {"list": "list_mounts"}
"""The commands of this package, by module, and what they are called there."""
COMMAND_GROUP = "headrace.commands"
"""The entry points by which other packages bring theirs."""
TELL_TALES = ("aiobotocore", "aiohttp", "botocore", "urllib3")
"""Libraries whose debug messages hold signatures and session tokens."""


class LazyGroup(click.Group):
    """A group whose sub-commands are imported only when they are asked for.

    Its own need no look at what is installed, which takes 30 ms among 100 packages.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all installed sub-commands, sorted."""
        return sorted({*OWN_COMMANDS, *(point.name for point in _entry_points())})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one sub-command, or None when nobody installed it."""
        command: click.Command
        if cmd_name in OWN_COMMANDS:
            module = import_module(f"vfs.cli.{cmd_name}")
            command = getattr(module, OWN_COMMANDS[cmd_name])
            return command
        for point in _entry_points().select(name=cmd_name):
            command = point.load()
            return command
        return None


def _entry_points() -> EntryPoints:
    from importlib.metadata import entry_points  # noqa: PLC0415

    return entry_points(group=COMMAND_GROUP)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="headrace", prog_name="headrace")
@click.option("-v", "--verbose", is_flag=True, help="Show tracebacks and debug messages.")
@click.pass_context
def headrace(ctx: click.Context, *, verbose: bool) -> None:
    """Mount datasets that live in object storage as ordinary read-only directories."""
    ctx.obj = verbose
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    for name in TELL_TALES:
        logging.getLogger(name).setLevel(logging.INFO if verbose else logging.WARNING)


def main() -> NoReturn:
    """Run the command line and end this process: 0 when done, 1 when it failed, 2 on wrong use.

    At once: everything is closed by then, and to take the interpreter down costs a mount 40 ms.
    """
    code = run()
    try:
        sys.stdout.flush()
    except OSError:
        code = code or 1
    os._exit(code)


def run() -> int:
    """Run the command line; return the exit code."""
    verbose = any(word in {"-v", "--verbose"} for word in sys.argv[1:])
    try:
        headrace(standalone_mode=True)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except Exception as error:
        if verbose:
            raise
        click.echo(f"headrace: {explanation(error)}", err=True)
        return 2 if isinstance(error, UsageError) else 1
    return 0


def explanation(error: Exception) -> str:
    """Return the one line that a person reads of *error*."""
    if isinstance(error, HeadraceError):
        return str(error)
    return f"unexpected {type(error).__name__}: {error}; 'headrace -v' shows where"
