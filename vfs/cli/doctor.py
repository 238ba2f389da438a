"""`headrace doctor`: say what is wrong on this node, and mend what can be mended."""

from __future__ import annotations

import sys

import click

from vfs.cli.options import json_option, print_json
from vfs.doctor.examine import examine, is_well, treat
from vfs.doctor.finding import Finding


@click.command()
@click.option("--repair", is_flag=True, help="Mend what can be mended safely, and say so.")
@json_option
def doctor(*, repair: bool, as_json: bool) -> None:
    """Look for sick mounts and what may make them so; exit with 1 when a problem remains."""
    repairs: list[str] = []
    findings = treat(repairs.append) if repair else examine()
    if as_json:
        print_json({"repairs": repairs, "findings": [as_document(each) for each in findings]})
    else:
        for done in repairs:
            click.echo(f"{'repair':<7}  {done}")
        for finding in findings:
            click.echo(finding.line())
    sys.exit(0 if is_well(findings) else 1)


def as_document(finding: Finding) -> dict[str, object]:
    """Return a finding as `--json` prints it."""
    return {
        "severity": str(finding.severity),
        "where": finding.where,
        "what": finding.what,
        "advice": finding.advice,
        "repairable": finding.cure is not None,
    }
