"""The steps that leave something: a mount in use, a record, a directory, a bind; undoing them.

`PUBLISHING.md` says what each leaves when the driver dies there. Decides nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from csi.errors import AlreadyPublishedError, CsiError, UnavailableError
from csi.faultpoint import FaultPoints
from csi.inflight import to_the_end
from csi.ledger import Ledger
from csi.mounter import Resolved
from csi.state import PublishRecord, PublishState
from csi.targets import Targets, shows, topmost
from csi.volume import Publication, PublishCall
from vfs.mounting.mountinfo import MountInfo
from vfs.mounting.spec import MountSpec

log = logging.getLogger(__name__)


class Sources(Protocol):
    """The mounts that targets show (csi.sources)."""

    async def acquire(self, spec: MountSpec, target: Path) -> Path:
        """Return a served mount of *spec*, which *target* uses from now on."""
        ...

    def release(self, target: Path) -> None:
        """Take note that *target* uses nothing any more."""
        ...

    def is_live(self, key: str) -> bool:
        """Say whether the kernel still asks the mount's server."""
        ...

    async def revive(self, key: str) -> None:
        """Give a dead mount a new connection, and all its targets too."""
        ...

    async def refresh(self, key: str, spec: MountSpec) -> None:
        """Have a live mount go on with the credentials of *spec*."""
        ...


@dataclass(frozen=True, slots=True)
class Plan:
    """A call and what it means now; `credentials` is the digest of those that it came with."""

    call: PublishCall
    resolved: Resolved
    credentials: str

    def record(self, source: Path) -> PublishRecord:
        """Return the record of what is about to be bound to the mount *source*."""
        return PublishRecord(
            self.call.wanted,
            PublishState.INTENT,
            key=source.name,
            snapshot_id=self.resolved.spec.snapshot_id,
            file_count=self.resolved.file_count,
            total_bytes=self.resolved.total_bytes,
            credentials=self.credentials,
            pod=self.call.pod,
        )


class Placing:
    """Places plans at their targets, whole or not at all, and takes off what is there."""

    def __init__(
        self, sources: Sources, targets: Targets, ledger: Ledger, faults: FaultPoints
    ) -> None:
        """Bind from *sources* to *targets*, and say so in *ledger*."""
        self._sources = sources
        self._targets = targets
        self._ledger = ledger
        self._reach = faults.reach

    async def place(self, plan: Plan) -> None:
        """Take all steps; when one fails, none was taken."""
        try:
            await self._steps(plan)
        except BaseException as error:
            await to_the_end(self._undo(plan.call.wanted, error))
            raise

    async def _steps(self, plan: Plan) -> None:
        target, said = plan.call.wanted.target, plan.call.attributes
        source = await self._sources.acquire(plan.resolved.spec, target)
        await self._reach("publish.acquire")
        record = plan.record(source)
        await self._ledger.save(record)
        await self._reach("publish.intent")
        await self._targets.make(target)
        await self._reach("publish.mkdir")
        await self._targets.bind(source, said.sub_path, target, executable=said.executable)
        await self._reach("publish.bind")
        await self._ledger.save(record.done())
        await self._reach("publish.done")

    async def _undo(self, wanted: Publication, error: BaseException) -> None:
        """Take back every step; what cannot be taken back is left to unpublish."""
        try:
            await self.clear(wanted, "undo")
        except UnavailableError as leftover:
            raise UnavailableError(f"{error}; {leftover}") from error

    async def clear(self, publication: Publication, occasion: str) -> None:
        """Take off what nobody was told of, or what is dead.

        Whatever prevents that is an error after which the kubelet comes again.
        """
        try:
            await self.take_off(publication.volume_id, publication.target, occasion)
        except Exception as error:
            if not isinstance(error, CsiError):
                log.exception("%s is not cleared", publication.target)
            raise UnavailableError(f"what is there is not taken off yet: {error}") from error

    async def recognise(self, plan: Plan) -> None:
        """Record what is mounted at the target without a record, if it is what is planned.

        Raises AlreadyPublishedError when it is something else.
        """
        target = plan.call.wanted.target
        source = await self._sources.acquire(plan.resolved.spec, target)
        try:
            table = await self._targets.table()
            if not _shows_plan(table, source, plan):
                raise AlreadyPublishedError(
                    f"something else is mounted at {target}; delete the pod, or unmount it"
                )
            await self._ledger.save(plan.record(source).done())
        except BaseException:
            self._sources.release(target)
            raise

    async def take_off(self, volume_id: str, target: Path, occasion: str) -> None:
        """Leave nothing of a volume at *target*. Whatever is gone already is fine."""
        await self._targets.detach(target)
        await self._reach(f"{occasion}.detach")
        await self._targets.remove(target)
        await self._reach(f"{occasion}.rmdir")
        await self._ledger.forget(volume_id, target)
        await self._reach(f"{occasion}.forget")
        self._sources.release(target)
        await self._reach(f"{occasion}.release")


def _shows_plan(table: Sequence[MountInfo], source: Path, plan: Plan) -> bool:
    there, ours = topmost(table, plan.call.wanted.target), topmost(table, source)
    sub_path = plan.call.attributes.sub_path
    return there is not None and ours is not None and shows(there, ours, sub_path)
