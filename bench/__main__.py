"""`python -m bench SCENARIO`: what headrace costs, measured on this machine."""

from __future__ import annotations

from pathlib import Path

import click

from bench import side_by_side
from bench.compiled import compile_packages
from bench.console import (
    console,
    out_option,
    say,
    scratch_directory,
    unshared_scratch_directory,
)
from bench.dose import Dose
from bench.report import Report
from bench.scenarios import (
    chaos,
    halfcache,
    memory,
    mounts,
    podchaos,
    pods,
    pressure,
    read,
    startup,
    workers,
)
from tests.csi.blows import PodDose

WIDTH = 150
"""Columns of a table that goes to a file."""

repeats_option = click.option(
    "--repeats",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    help="Rounds; under 10 the figures are good for a first look only.",
)


@click.group()
def main() -> None:
    """Measure headrace. The machine should have nothing else to do."""
    compile_packages()


@main.command("startup")
@click.option(
    "--sizes",
    callback=lambda _context, _option, text: parse_sizes(text),
    default="1e3,1e4,1e5,1e6",
    show_default=True,
    help="Files in the datasets.",
)
@repeats_option
@out_option
@click.option("--peers", help="Beside these peers, with datasets that they can be given.")
@click.pass_context
def startup_command(
    context: click.Context, sizes: list[int], repeats: int, out: Path | None, peers: str | None
) -> None:
    """Measure publishing, and the time and requests from the mount command to the first byte.

    With --peers this is first-batch.
    """
    if peers is not None:
        words = ["--peers", peers, *(["--out", str(out)] if out else [])]
        main.main(["first-batch", *words], standalone_mode=False, parent=context.parent)
        return
    with unshared_scratch_directory() as scratch:
        finish(startup.run(scratch, sizes, repeats, say), out)


@main.command("read")
@repeats_option
@out_option
def read_command(repeats: int, out: Path | None) -> None:
    """Measure first reads from a warm node cache and re-reads, beside the native file system."""
    with unshared_scratch_directory() as scratch:
        finish(read.run(scratch, repeats, say), out)


@main.command("workers")
@repeats_option
@out_option
def workers_command(repeats: int, out: Path | None) -> None:
    """Measure first reads from a warm node cache by many readers, with 1 worker and with 2."""
    with unshared_scratch_directory() as scratch:
        finish(workers.run(scratch, repeats, say), out)


@main.command("memory")
@click.option("--files", default=100_000, show_default=True, help="How many files to read.")
@click.option("--lookups", default=0, show_default=True, help="How many names to look up then.")
@click.option(
    "--announced", default=0, show_default=True, help="How many reads to announce to a full cache."
)
@out_option
def memory_command(files: int, lookups: int, announced: int, out: Path | None) -> None:
    """Measure the private memory of everybody who serves a mount."""
    with unshared_scratch_directory() as scratch:
        finish(memory.run(scratch, files, lookups, announced, say), out)


@main.command("pressure")
@repeats_option
@out_option
def pressure_command(repeats: int, out: Path | None) -> None:
    """Measure what it costs under memory pressure that bytes lie in two kinds of pages."""
    with unshared_scratch_directory() as scratch:
        finish(pressure.run(scratch, repeats, say), out)


@main.command("halfcache")
@repeats_option
@out_option
def halfcache_command(repeats: int, out: Path | None) -> None:
    """Measure epochs in random order through a cache of half the dataset, announced or not."""
    with unshared_scratch_directory() as scratch:
        finish(halfcache.run(scratch, repeats, say), out)


@main.command("mounts")
@click.option("--count", type=click.IntRange(min=2), default=50, show_default=True)
@click.option("--workers", default=1, show_default=True, help="Workers of each mount.")
@out_option
def mounts_command(count: int, workers: int, out: Path | None) -> None:
    """Measure what many idle mounts cost in memory, descriptors and time."""
    with unshared_scratch_directory() as scratch:
        finish(mounts.run(scratch, count, workers, say), out)


@main.command("chaos")
@click.option(
    "--workers-killed", "workers", default=100, show_default=True, help="Workers to kill."
)
@click.option("--supervisors", default=10, show_default=True, help="Supervisors to kill.")
@click.option("--caches", default=20, show_default=True, help="Cache services to kill.")
@click.option("--pairs", default=1, show_default=True, help="How often to kill any two at once.")
@click.option("--upgrades", default=10, show_default=True, help="Upgrades, a kill in every other.")
@click.option("--switches", default=20, show_default=True, help="Version switches, likewise.")
@click.option("--seconds", default=900.0, show_default=True, help="When to stop at the latest.")
@out_option
def chaos_command(seconds: float, out: Path | None, **counts: int) -> None:
    """Verify every byte that readers get while their servers are killed and replaced."""
    with unshared_scratch_directory() as scratch:
        finish(chaos.run(scratch, Dose(**counts), seconds, say), out)


@main.command("pods")
@click.option(
    "--sizes",
    callback=lambda _context, _option, text: parse_sizes(text),
    default="1e3,1e6",
    show_default=True,
    help="Files in the datasets.",
)
@click.option("--at-once", default=200, show_default=True, help="Pods that come at one time.")
@click.option("--pods", default=110, show_default=True, help="Pods of 4 volumes.")
@click.option("--datasets", default=20, show_default=True, help="What these volumes show.")
@repeats_option
@out_option
def pods_command(sizes: list[int], repeats: int, out: Path | None, **crowd: int) -> None:
    """Measure what pods wait for volumes of the Kubernetes driver, alone and many at once."""
    with scratch_directory() as scratch:
        finish(pods.run(scratch, sizes, repeats, pods.CrowdSize(**crowd), say), out)


@main.command("podchaos")
@click.option("--kills", default=5, show_default=True, help="How often each role is killed.")
@click.option("--pairs", default=2, show_default=True, help="How often any two at once.")
@click.option("--steps", default=1, show_default=True, help="How often at each step of a publish.")
@click.option("--stops", default=2, show_default=True, help="How often past the hang budget.")
@click.option("--upgrades", default=3, show_default=True, help="How often each is replaced.")
@click.option("--seconds", default=900.0, show_default=True, help="When to stop at the latest.")
@out_option
def podchaos_command(seconds: float, out: Path | None, **counts: int) -> None:
    """Verify every byte that pods get while the Kubernetes driver and its servers are killed."""
    with scratch_directory() as scratch:
        finish(podchaos.run(scratch, PodDose(**counts), seconds, say), out)


side_by_side.add_commands(main)


def parse_sizes(text: str) -> list[int]:
    """Return the numbers in a list such as `1e3,50000`."""
    try:
        return [int(float(size)) for size in text.split(",")]
    except ValueError:
        raise click.BadParameter(f"{text!r} is no list of numbers") from None


def finish(report: Report, out: Path | None) -> None:
    """Show a report, and keep it if that is wanted."""
    report.show(console(WIDTH))
    if out is not None:
        report.save(out)


if __name__ == "__main__":
    main(prog_name="python -m bench")
