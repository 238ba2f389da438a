"""Results as one HTML page with its plots beside it."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path

from bench.plots import plot_all
from bench.report import Sheet
from bench.results import Results
from bench.tables import sheets

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>headrace beside its peers</title>
<style>
body {{ font: 14px/1.5 system-ui, sans-serif; margin: 2rem; color: #222 }}
table {{ border-collapse: collapse; margin: 0 0 2rem }}
caption {{ text-align: left; font-weight: 600; padding: .5rem 0 }}
td, th {{ border-bottom: 1px solid #ddd; padding: .2rem .6rem; text-align: right }}
td:first-child, th:first-child, table.words td {{ text-align: left }}
img {{ max-width: 100%; display: block; margin: 1rem 0 }}
.dim {{ color: #888 }} .green {{ color: #0a7a3d }} .red {{ color: #c0202f }}
</style>
<h1>headrace beside its peers</h1>
{body}
</html>
"""
MARKUP = re.compile(r"\[(/?)(\w*)\]")
WORDY = {"peers", "left out"}


def write_page(results: Results, directory: Path) -> Path:
    """Write `index.html` and the plots below *directory*, and return where the page is."""
    directory.mkdir(parents=True, exist_ok=True)
    plots = dict(plot_all(results, directory))
    page = directory / "index.html"
    page.write_text(PAGE.format(body="\n".join(parts(results, plots))))
    return page


def parts(results: Results, plots: dict[str, Path]) -> Iterator[str]:
    """Yield the page's parts, top down."""
    facts = ", ".join(f"{name} {value}" for name, value in results.machine.items())
    yield f"<p class=dim>{html.escape(facts)}</p>"
    yield f"<ul>{''.join(f'<li>{html.escape(note)}' for note in results.notes)}</ul>"
    for sheet in sheets(results):
        if sheet.title in plots:
            yield f'<img src="{plots[sheet.title].name}" alt="{html.escape(sheet.title)}">'
        yield table(sheet)


def table(sheet: Sheet) -> str:
    """Return a sheet as HTML."""
    kind = " class=words" if sheet.title in WORDY else ""
    head = "".join(f"<th>{html.escape(column)}" for column in sheet.columns)
    body = "".join(f"<tr>{''.join(f'<td>{styled(cell)}' for cell in row)}" for row in sheet.rows)
    return f"<table{kind}><caption>{html.escape(sheet.title)}</caption><tr>{head}{body}</table>"


def styled(text: str) -> str:
    """Return a cell with rich's marks, such as [dim]...[/], as spans."""
    return MARKUP.sub(
        lambda mark: "</span>" if mark[1] else f"<span class={mark[2]}>", html.escape(text)
    )
