"""A mount's own way to the node's cache."""

from __future__ import annotations

from functools import partial

import anyio

from cachesvc.client import CacheClient, Renew
from cachesvc.hint import hint
from cachesvc.spawn import ensure_service
from cachesvc.want import wants_of
from vfs.mounting.spec import MountSpec
from vfs.serving.extent import REPOSITORY
from vfs.serving.manifestsource import manifest_ref
from vfs.snapshots.repository import StoredSnapshot


def cache_client(spec: MountSpec) -> CacheClient:
    """Return a client that reads with *spec*'s credentials and starts the service if need be."""
    return CacheClient(
        spec.cache.directory,
        [spec.source, spec.repository],
        ensure=partial(anyio.to_thread.run_sync, ensure_service, spec.cache),
        renew=_renewal(spec),
        deadline_seconds=spec.deadline_seconds,
    )


def expect_manifest(spec: MountSpec) -> None:
    """Have the service fetch the beginning of *spec*'s manifest before any worker needs it."""
    found = StoredSnapshot(spec.snapshot_id, spec.manifest_size)
    first = wants_of(REPOSITORY, manifest_ref(spec.repository.root, found), 0, 1)
    hint(spec.cache.directory, spec.repository, spec.deadline_seconds, first)


def replace_origins(client: CacheClient, spec: MountSpec) -> None:
    """Let *client* go on with the credentials of *spec*, which is of the same mount."""
    client.replace_origins([spec.source, spec.repository], _renewal(spec))


def _renewal(spec: MountSpec) -> Renew:
    return partial(anyio.to_thread.run_sync, spec.renewed_origins, abandon_on_cancel=True)
