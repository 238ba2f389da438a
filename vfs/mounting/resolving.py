"""What somebody's words for a dataset mean now, and whether they may read it: as themselves.

Done in a process of its own for each question, so that no two tenants' credentials meet. At most a
few small requests to object storage, and never a listing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio

from cachesvc.config import CacheConfig
from cachesvc.errors import UsageError
from cachesvc.objectstore.retry import RetryPolicy
from vfs.errors import SnapshotMissingError
from vfs.mounting.identity import Identity
from vfs.mounting.mount import DEFAULT_READ_AHEAD_KIB
from vfs.mounting.spec import MountSpec
from vfs.serving.manifestsource import check_is_of
from vfs.snapshots.access import check_source
from vfs.snapshots.dataset import Dataset, DatasetRequest, opened
from vfs.snapshots.repository import Repository, StoredSnapshot

RESOLVE_SECONDS = 25
STORE_POLICY = RetryPolicy(deadline_seconds=20.0)
KEY_SIZE = 16


@dataclass(frozen=True, slots=True)
class ResolveRequest:
    """A dataset as somebody asks for it, and how it is to be shown.

    `environment` holds their credentials, `identity` stands for those without telling them: mounts
    of equal identity are shared. The mountpoint will lie in `mounts`. With `snapshot_id` that
    snapshot is meant, whatever the source's ref says by now.
    """

    source: str
    mounts: str
    environment: Mapping[str, str] = field(repr=False)
    repository: str | None = None
    options: Mapping[str, str] = field(default_factory=dict, repr=False)
    identity: str = ""
    uid: int | None = None
    gid: int | None = None
    mode: int | None = None
    no_exec: bool = True
    workers: int = 1
    read_ahead_kib: int = DEFAULT_READ_AHEAD_KIB
    prefetch: str | None = None
    deadline_seconds: float = 60.0
    hang_budget_seconds: float = 30.0
    snapshot_id: str | None = None

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> ResolveRequest:
        """Return the request that a message holds. Raises UsageError, which repeats no value."""
        try:
            return cls(**fields)
        except TypeError as error:
            raise UsageError(f"a dataset was asked for in words unknown here: {error}") from None


@dataclass(frozen=True, slots=True)
class Resolved:
    """A mount to make, and how large its dataset is."""

    spec: MountSpec
    file_count: int
    total_bytes: int

    def fields(self) -> dict[str, object]:
        """Return all of it as a message takes it, secrets included."""
        return {
            "spec": self.spec.to_json(),
            "file_count": self.file_count,
            "total_bytes": self.total_bytes,
        }


def resolve(request: ResolveRequest, cache: CacheConfig) -> Resolved:
    """Return what *request* means now. Raises HeadraceError leaves.

    This process becomes the asker: it must serve nobody else afterwards.
    """
    Identity().assume(request.environment)
    asked = DatasetRequest(request.source, request.repository, request.options)
    dataset = asked.resolve()
    return anyio.run(_looked_up, request, asked, dataset, cache, backend="asyncio")


async def _looked_up(
    request: ResolveRequest, asked: DatasetRequest, dataset: Dataset, cache: CacheConfig
) -> Resolved:
    async with opened(dataset.repository, STORE_POLICY) as store:
        repository = Repository(store)
        found = await _snapshot(repository, dataset, request.snapshot_id)
        tree = await repository.open_found(found)
        check_is_of(dataset.source.root, tree, dataset.repository.root)
        async with opened(dataset.source, STORE_POLICY) as source:
            await check_source(source, tree)
    spec = _spec(request, asked, dataset, found, cache)
    return Resolved(spec, tree.superblock.file_count, tree.superblock.total_bytes)


async def _snapshot(
    repository: Repository, dataset: Dataset, snapshot_id: str | None
) -> StoredSnapshot:
    name = snapshot_id or dataset.snapshot_or_default
    found = await repository.find_whole(name)
    if found is None:
        raise SnapshotMissingError(
            f"{dataset.source.root} has no ref or snapshot {name!r} in {repository.root}: "
            f"publish it with 'headrace snapshot', or name one that 'headrace refs' lists"
        )
    return found


def _spec(
    request: ResolveRequest,
    asked: DatasetRequest,
    dataset: Dataset,
    found: StoredSnapshot,
    cache: CacheConfig,
) -> MountSpec:
    key = key_of(request, dataset, found)
    return MountSpec(
        key=key,
        mountpoint=Path(request.mounts) / key,
        request=asked,
        source=dataset.source,
        repository=dataset.repository,
        ref=dataset.snapshot_or_default,
        snapshot_id=found.snapshot_id,
        manifest_size=found.manifest_size,
        cache=cache,
        uid=request.uid or 0,
        gid=request.gid or 0,
        worker_count=request.workers,
        allow_other=True,
        read_ahead_kib=request.read_ahead_kib,
        deadline_seconds=request.deadline_seconds,
        hang_budget_seconds=request.hang_budget_seconds,
        environment=request.environment,
        identity=request.identity,
        mode=request.mode,
        no_exec=request.no_exec,
        prefetch=request.prefetch,
    )


def key_of(request: ResolveRequest, dataset: Dataset, found: StoredSnapshot) -> str:
    """Return the name of the mount that all share who ask for the same in the same way."""
    shared = [
        found.snapshot_id,
        dataset.source.root,
        dataset.repository.root,
        request.uid or 0,
        request.gid or 0,
        request.mode,
        request.workers,
        request.read_ahead_kib,
        request.prefetch,
        request.deadline_seconds,
        request.identity,
    ]
    return hashlib.blake2b(json.dumps(shared).encode(), digest_size=KEY_SIZE).hexdigest()


def import_engines() -> None:
    """Load what asking S3 takes, once for all children to come; it starts no thread."""
    from cachesvc.objectstore import awsfiles, obstore_engine  # noqa: F401, PLC0415
