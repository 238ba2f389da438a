"""Plots of results: bars of all peers, a group for each cell; the black lines are quartiles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure as Canvas

from bench.results import Results, Row, grouped

COLOURS = {
    "native": "#9aa0a6",
    "wire": "#c9ced3",
    "headrace": "#0b6e4f",
    "headrace-pack": "#19a974",
    "headrace-order": "#7bd389",
    "juicefs": "#d1495b",
    "rclone": "#edae49",
    "s3fs": "#8d6a9f",
    "seaweedfs": "#30638e",
    "copy": "#b08968",
}
OTHERS = "#444444"
GROUP_INCHES = 1.9
BAR_WIDTH = 0.8


def plot_all(results: Results, directory: Path) -> Iterator[tuple[str, Path]]:
    """Write a PNG for each scenario and figure; yield its title and place."""
    mpl.use("Agg")
    groups = grouped(results.rows)
    for scenario, figure in dict.fromkeys((place[0], place[3]) for place in groups):
        title = f"{scenario}: {figure}"
        path = directory / f"{file_name(title)}.png"
        chosen = {
            f"{cell}\n{phase}": rows
            for (each, cell, phase, name), rows in groups.items()
            if (each, name) == (scenario, figure)
        }
        plot(title, chosen, path)
        yield title, path


def plot(title: str, groups: Mapping[str, Mapping[str, Row]], path: Path) -> None:
    """Write one plot."""
    peers = list(dict.fromkeys(peer for rows in groups.values() for peer in rows))
    canvas = Canvas(figsize=(max(7.0, GROUP_INCHES * len(groups)), 4.5), layout="constrained")
    axes: Any = canvas.add_subplot()
    width = BAR_WIDTH / max(len(peers), 1)
    for number, peer in enumerate(peers):
        places = [at + number * width for at, rows in enumerate(groups.values()) if peer in rows]
        rows = [rows[peer] for rows in groups.values() if peer in rows]
        axes.bar(
            places,
            [row.samples.median for row in rows],
            width,
            yerr=whiskers(rows),
            label=peer,
            color=COLOURS.get(peer, OTHERS),
            error_kw={"linewidth": 0.8},
        )
    better = "more" if is_more_better(groups) else "less"
    axes.set_title(f"{title} ({better} is better)")
    axes.set_xticks([at + BAR_WIDTH / 2 - width / 2 for at in range(len(groups))], list(groups))
    axes.margins(x=0.01)
    axes.tick_params("x", labelsize=6)
    axes.set_yscale("symlog" if spans_decades(groups) else "linear")
    canvas.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=9)
    canvas.savefig(path, dpi=110)


def whiskers(rows: Sequence[Row]) -> list[list[float]]:
    """Return how far the quartiles are below and above each median."""
    middles = [(row.samples.median, *row.samples.quartiles) for row in rows]
    return [
        [median - low for median, low, _ in middles],
        [high - median for median, _, high in middles],
    ]


def is_more_better(groups: Mapping[str, Mapping[str, Row]]) -> bool:
    """Whether more is better of what is plotted."""
    return all(row.more_is_better for rows in groups.values() for row in rows.values())


def spans_decades(groups: Mapping[str, Mapping[str, Row]]) -> bool:
    """Whether the smallest bars would not be seen beside the largest."""
    medians = [row.samples.median for rows in groups.values() for row in rows.values()]
    return max(medians) > 30 * max(min(medians), 1e-9)


def file_name(title: str) -> str:
    """Return a title as a file name."""
    return "".join(letter if letter.isalnum() else "-" for letter in title)
