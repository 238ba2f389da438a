"""What the mounter is asked about a volume: words, settings and identity, as plain JSON values."""

from __future__ import annotations

from csi.attributes import Attributes
from csi.config import DriverConfig
from csi.credentials import Credentials
from csi.volume import PublishCall
from vfs.mounting.mount import DEFAULT_READ_AHEAD_KIB

Question = dict[str, object]


def question_of(
    call: PublishCall, credentials: Credentials, config: DriverConfig, pinned: str | None = None
) -> Question:
    """Return the request that resolves a volume; *pinned* is a snapshot that it must stay at.

    Whatever is in it but the environment tells mounts apart.
    """
    said = call.attributes
    environment = credentials.environment
    return {
        "source": f"{_closed(said.dataset)}@{said.name}",
        "repository": said.repository,
        "options": _options(said),
        "environment": None if environment is None else dict(environment),
        "identity": credentials.identity,
        "mounts": str(config.source_dir),
        "uid": said.uid or 0,
        "gid": _owning_group(said, call.wanted.arguments.mount_group),
        "mode": said.mode,
        "no_exec": True,
        "workers": config.workers if said.workers is None else said.workers,
        "read_ahead_kib": (
            DEFAULT_READ_AHEAD_KIB if said.read_ahead_kib is None else said.read_ahead_kib
        ),
        "prefetch": said.prefetch,
        "deadline_seconds": (
            config.deadline_seconds if said.deadline_seconds is None else said.deadline_seconds
        ),
        "hang_budget_seconds": config.hang_budget_seconds,
        "snapshot_id": pinned,
    }


def _closed(place: str) -> str:
    """Return a place to which `@name` can be added, and not be taken for `user@host`."""
    return place if "/" in place.partition("://")[2] else f"{place}/"


def _options(said: Attributes) -> dict[str, str]:
    given = {"endpoint_url": said.endpoint, "region": said.region}
    return {name: word for name, word in given.items() if word is not None}


def _owning_group(said: Attributes, mount_group: int | None) -> int:
    """Return the group of all files: the pod's only where its members may do more than others.

    Else pods of different groups can share one mount.
    """
    if said.gid is not None:
        return said.gid
    if mount_group is None or said.mode is None:
        return 0
    group_may, others_may = said.mode >> 3 & 7, said.mode & 7
    return mount_group if group_may != others_may else 0
