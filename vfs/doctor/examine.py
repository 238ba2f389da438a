"""The whole examination, and the whole treatment."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import chain

from cachesvc.errors import HeadraceError
from vfs.doctor.daemons import cache_service_findings, daemon_findings
from vfs.doctor.disks import disk_findings
from vfs.doctor.driver import driver_findings
from vfs.doctor.driverscene import DriverPlaces, look_at_driver
from vfs.doctor.finding import Cure, Finding, Severity, problem
from vfs.doctor.kernel import kernel_findings, read_settings
from vfs.doctor.leftovers import leftover_findings
from vfs.doctor.mend import mend
from vfs.doctor.mounts import mount_findings, read_ahead_findings
from vfs.doctor.scene import look_around
from vfs.doctor.stores import store_findings
from vfs.errors import MountError

PAUSE_SECONDS = 1.0
"""What is broken only for so long is being mended already, or has just begun."""
MOST_ROUNDS = 5
"""One mended thing may uncover another: a supervisor must run before a worker can be judged."""


def examine() -> list[Finding]:
    """Look at everything; what is wrong is looked at twice, and must be wrong both times."""
    first = _look()
    if not any(finding.cure or finding.severity is Severity.PROBLEM for finding in first):
        return first
    time.sleep(PAUSE_SECONDS)
    second = _look()
    return [finding for finding in second if finding.cure is None or finding in first]


def examine_driver(places: DriverPlaces) -> list[Finding]:
    """Look at the Kubernetes driver on this node; what is wrong must be so twice."""
    first = _look_at_driver(places)
    if is_well(first):
        return first
    time.sleep(PAUSE_SECONDS)
    known = {(finding.severity, finding.where) for finding in first}
    return [
        finding
        for finding in _look_at_driver(places)
        if finding.severity is Severity.OK or (finding.severity, finding.where) in known
    ]


def _look_at_driver(places: DriverPlaces) -> list[Finding]:
    return [*kernel_findings(read_settings()), *driver_findings(look_at_driver(places))]


def _look() -> list[Finding]:
    settings = kernel_findings(read_settings())
    try:
        scene = look_around()
    except (MountError, OSError) as error:
        advice = "set HEADRACE_RUNTIME_DIR to a directory of yours"
        return [*settings, problem("runtime directory", str(error), advice)]
    return list(
        chain(
            settings,
            mount_findings(scene),
            read_ahead_findings(scene),
            daemon_findings(scene),
            leftover_findings(scene),
            cache_service_findings(scene),
            disk_findings(scene),
            store_findings(scene),
        )
    )


def treat(tell: Callable[[str], None]) -> list[Finding]:
    """Mend what can be, telling what is done, and return what there is to find afterwards.

    What could not be mended is tried no second time.
    """
    tried: set[Cure] = set()
    for _ in range(MOST_ROUNDS):
        findings = examine()
        cures = {finding.cure for finding in findings if finding.cure is not None} - tried
        if not cures:
            break
        for finding in findings:
            if finding.cure in cures:
                tell(_mended(finding))
        tried |= cures
    return findings


def _mended(finding: Finding) -> str:
    assert finding.cure is not None
    try:
        return mend(finding.cure)
    except (HeadraceError, OSError) as error:
        return f"could not mend {finding.where}: {error}"


def is_well(findings: list[Finding]) -> bool:
    """Say whether no problem is among the findings."""
    return all(finding.severity is not Severity.PROBLEM for finding in findings)
