"""Findings about mounts: dead ones, ones that do not answer, ones that read ahead too little."""

from __future__ import annotations

from collections.abc import Iterator

from vfs.doctor.child import ANSWER_SECONDS
from vfs.doctor.finding import Finding, ReadAhead, Unmount, ok, problem, warning
from vfs.doctor.scene import MountSeen, Scene
from vfs.mounting.mount import read_ahead_of


def mount_findings(scene: Scene) -> Iterator[Finding]:
    """Judge each mount of headrace's; of somebody else's it is said only when it is dead."""
    for seen in scene.mounts:
        if seen.key is not None:
            yield _of_ours(seen)
        elif seen.is_dead:
            yield _of_unknown(seen, scene)


def _of_ours(seen: MountSeen) -> Finding:
    place = str(seen.info.mountpoint)
    match seen.error:
        case None:
            return problem(
                place,
                f"it did not answer within {ANSWER_SECONDS:g} s",
                "mend the processes named here; if that does not help, "
                f"'headrace umount --lazy {place}' and mount it again",
            )
        case "":
            return ok(place, "it answers")
        case _ if seen.is_dead:
            return problem(
                place,
                "it is dead: nobody holds its connection",
                f"'headrace umount --lazy {place}' and mount it again",
                Unmount(seen.info.mountpoint, seen.info.minor, seen.key),
            )
        case error:
            return warning(place, f"it answers {error}", "its log may say why")


def _of_unknown(seen: MountSeen, scene: Scene) -> Finding:
    """Judge a dead mount without a record: what is nobody's may go, what may be theirs stays."""
    place = str(seen.info.mountpoint)
    advice = f"'headrace umount --lazy {place}'"
    if scene.has_neighbours():
        return warning(
            place,
            "it is dead, and unknown in this runtime directory; headrace runs from others too",
            f"look there, or {advice}",
        )
    cure = Unmount(seen.info.mountpoint, seen.info.minor, None)
    return problem(place, "it is dead, and nobody knows it", advice, cure)


def read_ahead_findings(scene: Scene) -> Iterator[Finding]:
    """Compare how far the kernel reads ahead with what each mount's user wished."""
    for seen in scene.live_mounts:
        record = (scene.held or {}).get(seen.key or "")
        actual = read_ahead_of(seen.info)
        if record is None or actual is None or actual >= record.spec.read_ahead_kib:
            continue
        wished = record.spec.read_ahead_kib
        yield warning(
            str(seen.info.mountpoint),
            f"the kernel reads {actual} KiB ahead instead of {wished}",
            f"as root: echo {wished} > /sys/class/bdi/{seen.info.major}:{seen.info.minor}"
            "/read_ahead_kb",
            ReadAhead(seen.info, wished) if scene.uid == 0 else None,
        )
