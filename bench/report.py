"""What a scenario found: as tables for a person, as JSON for a later run to be compared with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.machine import machine_facts
from bench.measure import Samples

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Bar:
    """A limit that a figure has to keep."""

    what: str
    value: float
    limit: float
    at_most: bool
    unit: str = ""

    @property
    def holds(self) -> bool:
        """Whether the figure keeps it."""
        return self.value <= self.limit if self.at_most else self.value >= self.limit

    def as_cells(self) -> list[str]:
        """Return the row that shows it."""
        side = "at most" if self.at_most else "at least"
        verdict = "[green]holds[/]" if self.holds else "[red]missed[/]"
        return [
            self.what,
            f"{self.value:.4g}{self.unit}",
            f"{side} {self.limit:g}{self.unit}",
            verdict,
        ]


@dataclass(frozen=True, slots=True)
class Sheet:
    """One table: its columns, and cells ready to be shown."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Report:
    """One run of a scenario. `figures` are the raw values, whatever shape suits them."""

    scenario: str
    notes: Sequence[str]
    sheets: Sequence[Sheet]
    bars: Sequence[Bar]
    figures: Any
    machine: Mapping[str, str] = field(default_factory=machine_facts)

    def show(self, console: Console) -> None:
        """Print it."""
        for sheet in self.sheets:
            show_sheet(console, sheet)
        for note in self.notes:
            console.print(f"* {note}", highlight=False)
        cells = [bar.as_cells() for bar in self.bars]
        show_sheet(console, Sheet("bars", ("figure", "value", "limit", ""), cells))
        facts = ", ".join(f"{name} {value}" for name, value in self.machine.items())
        console.print(facts, style="dim", highlight=False)

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        document = {
            "format": FORMAT,
            "scenario": self.scenario,
            "machine": self.machine,
            "notes": self.notes,
            "bars": [
                {
                    "what": bar.what,
                    "value": bar.value,
                    "limit": bar.limit,
                    "at_most": bar.at_most,
                    "unit": bar.unit.strip(),
                    "holds": bar.holds,
                }
                for bar in self.bars
            ],
            "figures": self.figures,
        }
        path.write_text(json.dumps(document, indent=2, default=_as_json) + "\n")


def show_sheet(console: Console, sheet: Sheet) -> None:
    """Print one table."""
    console.print(_table(sheet))


def spread(samples: Samples, digits: int = 1) -> str:
    """Return the median, and in brackets the quartiles."""
    low, high = samples.quartiles
    return f"{samples.median:,.{digits}f} [dim]({low:,.{digits}f}-{high:,.{digits}f})[/]"


def _table(sheet: Sheet) -> Table:
    table = Table(title=sheet.title, title_justify="left")
    for number, column in enumerate(sheet.columns):
        table.add_column(column, justify="right" if number else "left")
    for row in sheet.rows:
        table.add_row(*row)
    return table


def _as_json(value: object) -> object:
    if isinstance(value, Samples):
        return {"median": value.median, "quartiles": value.quartiles, "values": value.values}
    raise TypeError(f"{value!r} has no JSON form")
