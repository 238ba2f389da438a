"""One process that answers a mount's requests: where its parts are put together.

Everything that it knows it can learn again from the snapshot, the cache and its order, so it may
die at any moment.
"""

from __future__ import annotations

import logging
import socket
from contextlib import suppress
from functools import partial

import pyfuse3
import trio

from cachesvc.client import CacheClient
from cachesvc.errors import HeadraceError, first_error
from vfs.mounting import wire
from vfs.mounting.identity import Identity
from vfs.mounting.nodecache import cache_client, replace_origins
from vfs.mounting.prefetching import prefetch_once
from vfs.mounting.record import MountRecord
from vfs.mounting.registration import Duties, Registration
from vfs.mounting.role import is_mounter
from vfs.mounting.state import mount_directory
from vfs.serving.attributes import AttributeReader
from vfs.serving.awaited import shared_awaited
from vfs.serving.channel import Channel, pyfuse3_pair
from vfs.serving.entry import EntryEncoder
from vfs.serving.epochs import EPOCHS_FILE, Epochs, create_epochs
from vfs.serving.errno import errno_of
from vfs.serving.extent import REPOSITORY, SOURCE
from vfs.serving.fuse import SnapshotOperations
from vfs.serving.ino import ROOT_INO
from vfs.serving.layout import Layouts
from vfs.serving.listings import Listings
from vfs.serving.lookahead import Lookahead
from vfs.serving.manifestsource import open_cached
from vfs.serving.metadata import Metadata
from vfs.serving.modes import Modes
from vfs.serving.mounted import MountedSnapshots
from vfs.serving.reader import FileReader
from vfs.serving.tally import Tally
from vfs.serving.tracks import shared_tracks
from vfs.snapshots.repository import StoredSnapshot

log = logging.getLogger(__name__)

METADATA_TASKS = 256
"""Look-ups that may wait for manifest pages at the same time."""


class Worker:
    """Serves one connection until the file system is unmounted or it is retired.

    Owns no descriptor.
    """

    def __init__(
        self,
        record: MountRecord,
        connection: int,
        supervisor: socket.socket,
        identity: Identity,
    ) -> None:
        """Serve *record* on the FUSE descriptor *connection*, registered over *supervisor*.

        *identity* is the mount's already.
        """
        self._record = record
        self._identity = identity
        self._spec = record.spec
        self._connection = connection
        self._supervisor = supervisor

    async def run(self) -> None:
        """Answer requests, and register once the first can be answered."""
        client = cache_client(self._spec)
        async with trio.open_nursery() as nursery:
            await nursery.start(client.run)
            mounted = await self._open_snapshot(client)
            await self._serve(client, mounted)
            nursery.cancel_scope.cancel()

    async def _open_snapshot(self, client: CacheClient) -> MountedSnapshots:
        spec = self._spec
        path = mount_directory(spec.key) / EPOCHS_FILE
        create_epochs(path, StoredSnapshot(spec.snapshot_id, spec.manifest_size))
        mounted = MountedSnapshots(
            Epochs(path), partial(open_cached, client, spec.source.root, spec.repository.root)
        )
        await mounted.current()
        return mounted

    async def _serve(self, client: CacheClient, mounted: MountedSnapshots) -> None:
        spec = self._spec
        layouts = Layouts(mounted, {SOURCE: spec.source.root, REPOSITORY: spec.repository.root})
        directory = mount_directory(spec.key)
        awaited, tracks = shared_awaited(directory), shared_tracks(directory)
        lookahead = Lookahead(mounted, layouts, client, awaited, tracks)
        tally = Tally()
        reads = FileReader(layouts, client, lookahead, tally)
        modes = Modes(spec.mode, is_open=spec.allow_other and is_mounter())
        encoder = EntryEncoder(spec.uid, spec.gid, modes)
        names, directories = Metadata(mounted, encoder), Listings(mounted, encoder)
        attributes = AttributeReader(mounted, layouts, client)
        operations = SnapshotOperations(mounted, attributes, spec.uid, spec.gid, modes)
        ours, theirs = pyfuse3_pair()
        with ours, theirs:
            pyfuse3.init(operations, f"/dev/fd/{theirs.fileno()}", set())
            channel = Channel(self._connection, ours, reads, names, directories, errno_of=errno_of)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(prefetch_once, client, mounted, spec)
                nursery.start_soon(lookahead.run)
                nursery.start_soon(partial(pyfuse3.main, max_tasks=METADATA_TASKS))
                await channel.initialise(self._record.init)
                duties = Duties(
                    probe=partial(_probe, mounted),
                    retire=channel.retire,
                    refresh=partial(self._refresh, client),
                    tell=tally.fields,
                )
                registration = Registration(
                    self._record, self._connection, self._supervisor, duties
                )
                nursery.start_soon(registration.run)
                await channel.run()
                registration.say_farewell()
                nursery.cancel_scope.cancel()

    def _refresh(self, client: CacheClient, record: MountRecord) -> None:
        """Go on with the credentials that *record* has."""
        self._identity.assume(record.spec.environment)
        replace_origins(client, record.spec)


async def _probe(mounted: MountedSnapshots) -> None:
    """Look at the root, as the first request of any reader would."""
    await mounted.inode(ROOT_INO)


def serve(record: MountRecord, connection: int, supervisor: socket.socket) -> int:
    """Be a worker until its work is done; return the exit code."""
    identity = Identity()
    identity.assume(record.spec.environment)
    worker = Worker(record, connection, supervisor, identity)
    code = 0
    try:
        trio.run(worker.run)
    except* HeadraceError as group:
        error = first_error(group)
        log.error("%s", error)
        with suppress(OSError):
            wire.send(supervisor, wire.failure(error))
        code = 1
    return code
