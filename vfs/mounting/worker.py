"""One process that answers a mount's requests: where its parts are put together.

Everything that it knows it can learn again from the snapshot, the cache and its order, so it may
die at any moment.
"""

from __future__ import annotations

import json
import os
import sys
from functools import partial

import anyio
import pyfuse3
import trio

from cachesvc.client import CacheClient
from cachesvc.errors import HeadraceError, first_error
from cachesvc.logs import log_to_stderr
from cachesvc.spawn import ensure_service
from vfs.errors import ManifestForeignError
from vfs.manifest.tree import Tree
from vfs.mounting.spec import MountSpec
from vfs.mounting.status import say
from vfs.serving.attributes import AttributeReader
from vfs.serving.channel import Channel, pyfuse3_pair
from vfs.serving.errno import errno_of
from vfs.serving.extent import REPOSITORY, SOURCE
from vfs.serving.fuse import SnapshotOperations
from vfs.serving.layout import Layouts
from vfs.serving.lookahead import Lookahead
from vfs.serving.manifestsource import CachedManifest
from vfs.serving.mounted import MountedSnapshots
from vfs.serving.reader import FileReader

METADATA_TASKS = 256
"""Look-ups that may wait for manifest pages at the same time."""


class Worker:
    """Serves one connection until the file system is unmounted. Owns no descriptor."""

    def __init__(self, spec: MountSpec, connection: int, init: bytes) -> None:
        """Serve *spec* on the FUSE descriptor *connection*, whose first request was *init*."""
        self._spec = spec
        self._connection = connection
        self._init = init

    async def run(self) -> None:
        """Say on standard output when requests are answered, then answer them."""
        spec = self._spec
        client = CacheClient(
            spec.cache.directory,
            [spec.source, spec.repository],
            ensure=partial(anyio.to_thread.run_sync, ensure_service, spec.cache),
            renew=partial(anyio.to_thread.run_sync, spec.renewed_origins, abandon_on_cancel=True),
            deadline_seconds=spec.deadline_seconds,
        )
        async with trio.open_nursery() as nursery:
            await nursery.start(client.run)
            mounted = await self._open_snapshot(client)
            await self._serve(client, mounted)
            nursery.cancel_scope.cancel()

    async def _open_snapshot(self, client: CacheClient) -> MountedSnapshots:
        spec = self._spec
        manifest = CachedManifest(
            client, REPOSITORY, spec.repository.root, spec.snapshot_id, spec.manifest_size
        )
        tree = await Tree.open(manifest, spec.snapshot_id)
        if tree.superblock.source != spec.source.root:
            raise ManifestForeignError(
                f"snapshot {spec.snapshot_id} in {spec.repository.root} is of "
                f"{tree.superblock.source}: publish {spec.source.root} to mount it"
            )
        return MountedSnapshots({0: tree})

    async def _serve(self, client: CacheClient, mounted: MountedSnapshots) -> None:
        spec = self._spec
        layouts = Layouts(mounted, {SOURCE: spec.source.root, REPOSITORY: spec.repository.root})
        lookahead = Lookahead(layouts, client.prefetch_nowait)
        reads = FileReader(mounted, layouts, client, lookahead)
        attributes = AttributeReader(mounted, layouts, client)
        operations = SnapshotOperations(mounted, attributes, spec.uid, spec.gid)
        ours, theirs = pyfuse3_pair()
        with ours, theirs:
            pyfuse3.init(operations, f"/dev/fd/{theirs.fileno()}", set())
            channel = Channel(self._connection, ours, reads, errno_of)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lookahead.run)
                nursery.start_soon(partial(pyfuse3.main, max_tasks=METADATA_TASKS))
                await channel.initialise(self._init)
                say({"ready": True})
                await channel.run()
                nursery.cancel_scope.cancel()


def main() -> None:
    """Read an order from standard input and serve it; exit 0 when the file system was unmounted."""
    log_to_stderr("worker")
    order = json.loads(sys.stdin.read())
    connection = int(sys.argv[1])
    os.set_inheritable(connection, False)
    worker = Worker(MountSpec.from_json(order["spec"]), connection, bytes.fromhex(order["init"]))
    try:
        trio.run(worker.run)
    except* HeadraceError as group:
        say({"error": str(first_error(group))})
        sys.exit(1)


if __name__ == "__main__":
    main()
