"""The `headrace` command: finds sub-commands by entry point, makes errors one line and a code."""

from __future__ import annotations

import logging
import sys
from importlib.metadata import EntryPoint, entry_points

import click

from cachesvc.errors import HeadraceError, UsageError

COMMAND_GROUP = "headrace.commands"
TELL_TALES = ("aiobotocore", "aiohttp", "botocore", "urllib3")
"""Libraries whose debug messages hold signatures and session tokens."""


class EntryPointGroup(click.Group):
    """A group whose sub-commands are entry points, each imported only when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all installed sub-commands, sorted."""
        return sorted(point.name for point in entry_points(group=COMMAND_GROUP))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one sub-command, or None when nobody installed it."""
        points: tuple[EntryPoint, ...] = tuple(entry_points(group=COMMAND_GROUP, name=cmd_name))
        if not points:
            return None
        command: click.Command = points[0].load()
        return command


@click.group(cls=EntryPointGroup, context_settings={"help_option_names": ["-h", "--help"]})
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


def main() -> None:
    """Run the command line: exit 0 when done, 1 when it failed, 2 on wrong use."""
    verbose = any(word in {"-v", "--verbose"} for word in sys.argv[1:])
    try:
        headrace(standalone_mode=True)
    except Exception as error:
        if verbose:
            raise
        click.echo(f"headrace: {explanation(error)}", err=True)
        sys.exit(2 if isinstance(error, UsageError) else 1)


def explanation(error: Exception) -> str:
    """Return the one line that a person reads of *error*."""
    if isinstance(error, HeadraceError):
        return str(error)
    return f"unexpected {type(error).__name__}: {error}; 'headrace -v' shows where"
