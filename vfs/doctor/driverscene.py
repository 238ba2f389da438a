"""All that can be seen of the Kubernetes driver's mounts at one moment. It judges nothing.

Nor does it look at a mount itself, which may be sick. What is mounted is said by the mount table,
and what lives by those who hold it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cachesvc.unixsocket import is_answered
from vfs.doctor.scene import held_at
from vfs.mounting import wire
from vfs.mounting.daemon import KEEPER, SUPERVISOR
from vfs.mounting.mountinfo import FILESYSTEM_TYPE, MountInfo, mount_table
from vfs.mounting.state import read_state

CONTROL = Path("/sys/fs/fuse/connections")
DONE = "done"


@dataclass(frozen=True, slots=True)
class DriverPlaces:
    """Where the driver keeps what it knows, and where its parts meet.

    `endpoint` is the socket that the kubelet calls, None when it is not to be looked at.
    """

    state: Path
    link: Path
    endpoint: Path | None = None

    @property
    def supervisor(self) -> Path:
        """Where the mounter listens."""
        return self.link / SUPERVISOR.name

    @property
    def keeper(self) -> Path:
        """Where the keeper listens."""
        return self.link / KEEPER.name


@dataclass(frozen=True, slots=True)
class DriverScene:
    """One look. `targets` show a source mount, or lie where something is on record as published.

    `held` are the connections that mounter and keeper have, None when neither says. `waiting` has
    the number of requests of each connection of which the kernel tells it. Where mounts lie upon
    one another the topmost counts.
    """

    places: DriverPlaces
    sources: tuple[MountInfo, ...]
    targets: tuple[MountInfo, ...]
    published: frozenset[Path]
    has_mounter: bool
    has_keeper: bool
    has_driver: bool
    held: frozenset[int] | None
    waiting: Mapping[int, int]

    def is_held(self, mount: MountInfo) -> bool:
        """Say whether somebody has the mount's connection; when nobody says, it is believed."""
        return self.held is None or mount.minor in self.held


def look_at_driver(places: DriverPlaces) -> DriverScene:
    """Look at everything once; takes some seconds where a process does not answer."""
    mounts = list(topmost(each for each in mount_table() if each.filesystem == FILESYSTEM_TYPE))
    sources = [each for each in mounts if each.mountpoint.is_relative_to(places.state)]
    connections = {each.minor for each in sources}
    published = frozenset(_published(places.state))
    has_mounter = _listens(places.supervisor)
    kept = held_at(places.keeper)
    return DriverScene(
        places=places,
        sources=tuple(sources),
        targets=tuple(
            each
            for each in mounts
            if each not in sources and (each.minor in connections or each.mountpoint in published)
        ),
        published=published,
        has_mounter=has_mounter,
        has_keeper=kept is not None,
        has_driver=places.endpoint is None or is_answered(places.endpoint),
        held=_held(
            [record.connection for record in kept.values()] if kept is not None else None,
            list(_served(places.link)) if has_mounter else None,
        ),
        waiting=dict(_waiting(connections)),
    )


def topmost(mounts: Iterable[MountInfo]) -> Iterator[MountInfo]:
    """Yield of each mountpoint the mount that is seen there; *mounts* are in order of mounting."""
    yield from {each.mountpoint: each for each in mounts}.values()


def _held(*said: list[int] | None) -> frozenset[int] | None:
    """Return the connections that anybody has, None when nobody has said."""
    told = [each for each in said if each is not None]
    return frozenset().union(*told) if told else None


def _served(link: Path) -> Iterator[int]:
    for path in sorted((link / "mounts").glob("*/state.json")):
        if (state := read_state(path)) is not None:
            yield state.connection


def _published(state: Path) -> Iterator[Path]:
    """Yield the targets of all finished publish records; one of another version says nothing."""
    for path in sorted((state / "volumes").glob("*.json")):
        try:
            record = json.loads(path.read_text())
            if record["state"] == DONE:
                yield Path(record["publication"]["target"])
        except (OSError, ValueError, KeyError, TypeError):
            continue


def _listens(path: Path) -> bool:
    try:
        wire.connect(path).close()
    except OSError:
        return False
    return True


def _waiting(connections: Iterable[int]) -> Iterator[tuple[int, int]]:
    for connection in connections:
        try:
            count = int((CONTROL / str(connection) / "waiting").read_text())
        except (OSError, ValueError):
            continue
        yield connection, count
