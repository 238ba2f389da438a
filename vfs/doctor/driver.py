"""Findings about the Kubernetes driver on this node. It mends itself, so none has a cure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from vfs.doctor.driverscene import DriverScene
from vfs.doctor.finding import Finding, ok, problem, warning


def driver_findings(scene: DriverScene) -> Iterator[Finding]:
    """Judge the driver's processes, its source mounts, and what pods see of them."""
    yield from _process_findings(scene)
    yield from _source_findings(scene)
    yield from _target_findings(scene)
    yield from _record_findings(scene)


def _process_findings(scene: DriverScene) -> Iterator[Finding]:
    places = scene.places
    if places.endpoint is not None:
        yield _of_listener(
            "driver",
            places.endpoint,
            scene.has_driver,
            "the kubelet can publish and unpublish nothing; see the pod csi-node of this node",
        )
    yield _of_listener(
        "mounter",
        places.supervisor,
        scene.has_mounter,
        "readers wait, nothing is published; see the pod mounter of this node",
    )
    yield _of_listener(
        "keeper",
        places.keeper,
        scene.has_keeper,
        "mounts have one holder less; see the container keeper of the mounter's pod",
    )


def _of_listener(name: str, socket: Path, is_there: bool, advice: str) -> Finding:
    if is_there:
        return ok(name, "it answers")
    stale = f"nobody answers at {socket}, which is left of one that ended"
    return problem(name, stale if socket.is_socket() else f"there is none at {socket}", advice)


def _source_findings(scene: DriverScene) -> Iterator[Finding]:
    users = Counter(target.minor for target in scene.targets)
    for source in scene.sources:
        place = str(source.mountpoint)
        waiting = scene.waiting.get(source.minor, "an unknown number of")
        if scene.is_held(source):
            yield ok(place, f"{users[source.minor]} targets, {waiting} requests wait")
        else:
            yield problem(
                place,
                "neither mounter nor keeper holds it",
                "csi-node mounts it anew; restart its pod if it does not",
            )


def _target_findings(scene: DriverScene) -> Iterator[Finding]:
    """Find what shows a connection that is lost; its source may be mounted anew already."""
    for target in scene.targets:
        if not scene.is_held(target):
            yield problem(
                str(target.mountpoint),
                "it shows a mount that is dead",
                "csi-node binds it anew; restart the pod if it does not",
            )


def _record_findings(scene: DriverScene) -> Iterator[Finding]:
    for target in sorted(scene.published - {each.mountpoint for each in scene.targets}):
        yield warning(
            str(target),
            "it is on record as published, and nothing is mounted there",
            "the record goes when the kubelet unpublishes the volume, or when csi-node restarts",
        )
