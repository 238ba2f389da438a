"""What a mount should be, as one value that is handed from process to process.

It carries credentials, so it travels through sockets and never through argv or files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cachesvc.config import CacheConfig
from cachesvc.objectstore.origin import Origin
from vfs.snapshots.dataset import DatasetRequest

DEFAULT_READ_AHEAD_KIB = 4096


@dataclass(frozen=True, slots=True)
class MountSpec:
    """One mount: which snapshot of which dataset, where, and how it is served.

    `key` tells it from every other mount of its user, for life. `uid` and `gid` own every file.
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
    prefetch: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)

    def renewed_origins(self) -> tuple[Origin, Origin]:
        """Return source and repository with credentials that are good now; may ask the network."""
        dataset = self.request.resolve()
        same = dataset.repository.root == self.repository.root
        return dataset.source, dataset.repository if same else self.repository

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
                "prefetch": self.prefetch,
                "environment": dict(self.environment),
            }
        )

    @classmethod
    def from_json(cls, text: str) -> MountSpec:
        """Return the spec that `to_json` wrote."""
        fields: dict[str, Any] = json.loads(text)
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
