"""`headrace doctor`: say what is wrong on this node, and mend what can be mended."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from cachesvc.errors import UsageError
from vfs.cli.options import json_option, print_json
from vfs.doctor.driverscene import DriverPlaces
from vfs.doctor.examine import examine, examine_driver, is_well, treat
from vfs.doctor.finding import Finding

DIRECTORY = click.Path(file_okay=False, path_type=Path)


@click.command()
@click.option("--repair", is_flag=True, help="Mend what can be mended safely, and say so.")
@click.option(
    "--state-dir",
    type=DIRECTORY,
    envvar="HEADRACE_CSI_STATE_DIR",
    help="Look at the Kubernetes driver that has this state directory, not at one's own mounts.",
)
@click.option(
    "--link-dir",
    type=DIRECTORY,
    envvar="HEADRACE_CSI_LINK_DIR",
    default=Path("/run/headrace/link"),
    show_default=True,
    help="Where that driver meets its mounter.",
)
@click.option("--endpoint", envvar="CSI_ENDPOINT", help="Where that driver serves the kubelet.")
@json_option
def doctor(
    *, repair: bool, state_dir: Path | None, link_dir: Path, endpoint: str | None, as_json: bool
) -> None:
    """Look for sick mounts and what may make them so; exit with 1 when a problem remains."""
    repairs: list[str] = []
    if state_dir is not None:
        if repair:
            raise UsageError("the Kubernetes driver mends its mounts itself; leave out --repair")
        findings = examine_driver(DriverPlaces(state_dir, link_dir, socket_of(endpoint)))
    else:
        findings = treat(repairs.append) if repair else examine()
    if as_json:
        print_json({"repairs": repairs, "findings": [as_document(each) for each in findings]})
    else:
        for done in repairs:
            click.echo(f"{'repair':<7}  {done}")
        for finding in findings:
            click.echo(finding.line())
    sys.exit(0 if is_well(findings) else 1)


def socket_of(endpoint: str | None) -> Path | None:
    """Return the socket in an endpoint such as unix:///path/to/csi.sock."""
    return Path("/" + endpoint.removeprefix("unix:").lstrip("/")) if endpoint else None


def as_document(finding: Finding) -> dict[str, object]:
    """Return a finding as `--json` prints it."""
    return {
        "severity": str(finding.severity),
        "where": finding.where,
        "what": finding.what,
        "advice": finding.advice,
        "repairable": finding.cure is not None,
    }
