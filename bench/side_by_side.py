"""The commands of `python -m bench` that play scenarios beside the peers and show the results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import click

from bench import suite
from bench.console import console, out_option, say, unshared_scratch_directory
from bench.peers.everybody import PEERS, named
from bench.peers.tools import install_debian_tools
from bench.report import show_sheet
from bench.results import Results
from bench.scenarios import files
from bench.tables import sheets

WIDTH = 260
"""Columns of a table that goes to a file: there is one for each peer."""


def add_commands(group: click.Group) -> None:
    """Give *group* a command for each scenario, for parts of `files`, and for all at once."""
    for name, scenario in suite.SCENARIOS.items():
        group.add_command(beside(name, [scenario], suite.sentence(scenario)))
    for name, phases in suite.PHASES.items():
        part = partial(files.run, phases=phases)
        group.add_command(beside(name, [part], f"Whole files: {'; '.join(phases)}."))
    group.add_command(beside("all", list(suite.SCENARIOS.values()), "All scenarios in turn."))
    group.add_command(report_command)
    group.add_command(setup_command)


def beside(name: str, scenarios: Sequence[suite.Scenario], text: str) -> click.Command:
    """Return the command *name*, which plays *scenarios* beside the peers."""

    @click.command(name, help=f"{text} Beside the peers.")
    @click.option(
        "--peers",
        callback=lambda _context, _option, words: words.split(",") if words else [],
        help=f"Which of {', '.join(peer.name for peer in PEERS)}.  [default: all]",
    )
    @click.option("--dose", type=click.Choice(list(suite.DOSES)), default="normal")
    @click.option("--quick", "dose", flag_value="quick", help="The same as --dose quick.")
    @click.option("--seconds", type=float, help="How long all of it may take, more or less.")
    @out_option
    def command(peers: list[str], dose: str, seconds: float | None, out: Path | None) -> None:
        amount = suite.DOSES[dose]
        if seconds is not None:
            amount = replace(amount, seconds=dict.fromkeys(amount.seconds, seconds))
        try:
            chosen = named(peers)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--peers") from None
        with unshared_scratch_directory() as scratch:
            for results in suite.play(scratch, scenarios, chosen, amount, say):
                if out is not None:
                    results.save(out)
        show(results)

    return command


@click.command("setup")
def setup_command() -> None:
    """Install the peers that come from Debian, where that is possible."""
    say(install_debian_tools())


@click.command("report")
@click.argument("results", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the page and its plots go.  [default: beside the first file]",
)
def report_command(results: tuple[Path, ...], out: Path | None) -> None:
    """Show RESULTS of side-by-side scenarios: tables, plots, one HTML page."""
    from bench.page import write_page  # noqa: PLC0415 - needs matplotlib, which all else does not

    together = Results.load(results[0])
    for path in results[1:]:
        together.add(Results.load(path))
    show(together)
    say(f"wrote {write_page(together, out or results[0].with_suffix(''))}")


def show(results: Results) -> None:
    """Print everything that was found."""
    terminal = console(WIDTH)
    for sheet in sheets(results):
        show_sheet(terminal, sheet)
    for note in results.notes:
        terminal.print(f"* {note}", highlight=False)
    facts = ", ".join(f"{name} {value}" for name, value in results.machine.items())
    terminal.print(facts, style="dim", highlight=False)
