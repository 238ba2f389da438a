"""What a mount should be, as one value that is handed from process to process.

It carries credentials, so it travels through sockets and never through argv or files.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from cachesvc.config import CacheConfig
from cachesvc.objectstore.origin import Origin
from vfs.errors import MountError
from vfs.mounting.mount import DEFAULT_READ_AHEAD_KIB
from vfs.snapshots.dataset import DatasetRequest


@dataclass(frozen=True, slots=True)
class MountSpec:
    """One mount: which snapshot of which dataset, where, and how it is served.

    `key` tells it from every other mount of its user, for life. `uid` and `gid` own every file, and
    `mode`, if there is one, is what every file shows instead of its own. `identity` stands for the
    owner of the credentials where mounts are shared among those who have the same.
    `prefetch` is what to fetch before it is read: `manifest`, a pattern of files, or None.
    `environment` is where its user's credentials are looked up again when they have expired.
    `deadline_seconds` bounds each read that has to wait for bytes; a worker that shows no sign of
    life for `hang_budget_seconds` is replaced.
    """

    key: str
    mountpoint: Path
    request: DatasetRequest
    source: Origin
    repository: Origin
    ref: str | None
    snapshot_id: str
    manifest_size: int
    cache: CacheConfig
    uid: int
    gid: int
    worker_count: int = 1
    allow_other: bool = False
    read_ahead_kib: int = DEFAULT_READ_AHEAD_KIB
    deadline_seconds: float = 60.0
    hang_budget_seconds: float = 30.0
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    identity: str = ""
    mode: int | None = None
    no_exec: bool = False
    prefetch: str | None = None

    def renewed_origins(self) -> tuple[Origin, Origin]:
        """Return source and repository with credentials that are good now; may ask the network."""
        dataset = self.request.resolve()
        same = dataset.repository.root == self.repository.root
        return dataset.source, dataset.repository if same else self.repository

    def with_credentials_of(self, other: MountSpec) -> MountSpec:
        """Return the same mount asked for as *other* is. Raises MountError if that is another."""
        if self._what() != other._what():
            raise MountError(f"{self.mountpoint} shows something else: publish the volume anew")
        return replace(
            self,
            request=other.request,
            source=other.source,
            repository=other.repository,
            environment=other.environment,
            identity=other.identity,
        )

    def _what(self) -> tuple[object, ...]:
        return (self.key, self.snapshot_id, self.source.root, self.repository.root)

    def to_json(self) -> str:
        """Return the spec as one line of JSON, secrets included."""
        return json.dumps(
            {
                "key": self.key,
                "mountpoint": str(self.mountpoint),
                "request": asdict(self.request),
                "source": self.source.to_wire(),
                "repository": self.repository.to_wire(),
                "ref": self.ref,
                "snapshot_id": self.snapshot_id,
                "manifest_size": self.manifest_size,
                "cache": {**asdict(self.cache), "directory": str(self.cache.directory)},
                "uid": self.uid,
                "gid": self.gid,
                "worker_count": self.worker_count,
                "allow_other": self.allow_other,
                "read_ahead_kib": self.read_ahead_kib,
                "deadline_seconds": self.deadline_seconds,
                "hang_budget_seconds": self.hang_budget_seconds,
                "environment": dict(self.environment),
                "identity": self.identity,
                "mode": self.mode,
                "no_exec": self.no_exec,
                "prefetch": self.prefetch,
            }
        )

    @classmethod
    def from_json(cls, text: str) -> MountSpec:
        """Return the spec that `to_json` wrote, here or in a later version, which may say more."""
        said: dict[str, Any] = json.loads(text)
        known = {each.name for each in dataclasses.fields(cls)}
        fields = {name: value for name, value in said.items() if name in known}
        return cls(
            **{
                **fields,
                "mountpoint": Path(fields["mountpoint"]),
                "request": DatasetRequest(**fields["request"]),
                "source": Origin.from_wire(fields["source"]),
                "repository": Origin.from_wire(fields["repository"]),
                "cache": CacheConfig(
                    **{**fields["cache"], "directory": Path(fields["cache"]["directory"])}
                ),
            }
        )
