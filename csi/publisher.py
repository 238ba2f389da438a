"""What is to be done about a volume: publish it, leave it, bring it up to date, take it off.

The steps themselves are in `placing.py`; `PUBLISHING.md` has the states.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from csi.answers import Answers, Resolve
from csi.compare import Verdict, compare
from csi.condition import Conditions, Finding, is_unreachable
from csi.config import DriverConfig
from csi.credentials import Credentials, credentials_of
from csi.errors import (
    CsiError,
    InvalidArgumentError,
    MounterFailedError,
    NotFoundError,
    UnavailableError,
)
from csi.faultpoint import FaultPoints
from csi.inflight import InFlight, Kind
from csi.ledger import Ledger
from csi.mounter import Resolved
from csi.placing import Placing, Plan, Sources
from csi.pod import PodInfo
from csi.policy import check_allowed, check_endpoint, check_repository
from csi.question import Question, question_of
from csi.state import PublishRecord, PublishState
from csi.targets import Targets, topmost
from csi.volume import Publication, PublishCall
from vfs.mounting.mountinfo import MountInfo

log = logging.getLogger(__name__)

PUBLISH_SECONDS = 110.0
"""The kubelet asks again after 120 s."""

Tell = Callable[[PodInfo, str, str], None]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a publisher works with."""

    sources: Sources
    answers: Answers
    targets: Targets
    ledger: Ledger
    identity_key: bytes
    tell: Tell
    orphaned: Callable[[str], None]
    faults: FaultPoints


class Publisher:
    """All publications of this node. Belongs to one event loop; owns the tasks that publish.

    Whatever fails is undone before the error is raised, so that nothing is left if nobody comes
    again. Where even that fails the error is one after which the kubelet does come.
    """

    def __init__(self, config: DriverConfig, around: Surroundings) -> None:
        """Begin with what `start` finds."""
        self._config = config
        self._sources = around.sources
        self._answers = around.answers
        self._targets = around.targets
        self._ledger = around.ledger
        self._identity_key = around.identity_key
        self._tell = around.tell
        self._orphaned = around.orphaned
        self._reach = around.faults.reach
        self._placing = Placing(around.sources, around.targets, around.ledger, around.faults)
        self._in_flight = InFlight()
        self.conditions = Conditions()
        self.ready = False
        """Whether what earlier lives left is known."""

    async def start(self) -> Mapping[Path, str]:
        """Take over what earlier lives published; return which target uses which source mount.

        What they began and did not finish is undone, and what is not mounted any more forgotten.
        """
        await self._ledger.load()
        table = await self._targets.table()
        for record in self._ledger.records():
            if topmost(table, record.target) is None or record.state is PublishState.INTENT:
                await self._clear_orphan(record)
        table = await self._targets.table()
        self.ready = True
        recorded = {record.target: record.key for record in self._ledger.records()}
        return {**unrecorded_users(table, self._config), **recorded}

    async def finish(self, seconds: float) -> None:
        """Admit nothing more, and return when what runs has ended or was undone."""
        await self._in_flight.finish(seconds)
        await self._answers.close()

    async def publish(self, call: PublishCall) -> None:
        """Have what *call* wants at its target. Raises CsiError."""
        self._check_ready()
        keys = _keys(call.wanted.volume_id, call.wanted.target)
        await self._in_flight.run(Kind.PUBLISH, keys, self._publish(call))

    async def unpublish(self, volume_id: str, target: Path) -> None:
        """Have nothing at *target*, whatever was there and whether or not it answers."""
        self._check_ready()
        keys = _keys(volume_id, target)
        await self._in_flight.run(Kind.UNPUBLISH, keys, self._unpublish(volume_id, target))

    def published_at(self, volume_id: str, target: Path) -> PublishRecord:
        """Return the record of a volume at a target, from memory. Raises NotFoundError."""
        record = self._ledger.at(target)
        if record is None or record.volume_id != volume_id or record.state is PublishState.INTENT:
            raise NotFoundError(f"the volume {volume_id!r} is not published at {target}")
        return record

    def findings(self, volume_id: str, target: Path | None) -> list[Finding]:
        """Return what is wrong with a volume, at one target or at all; asks nobody.

        Raises NotFoundError for a volume that nobody ever wanted.
        """
        records = [
            record
            for record in self._ledger.records()
            if record.volume_id == volume_id and target in {None, record.target}
        ]
        failure = self.conditions.failure(volume_id)
        if not records and failure is None:
            raise NotFoundError(f"the volume {volume_id!r} is not published on this node")
        dead = [
            Finding("MountDead", f"the mount of {record.dataset} at {record.target} has no server")
            for record in records
            if not self._sources.is_live(record.key)
        ]
        return dead if failure is None else [*dead, failure]

    def tell_rebound(self, targets: Sequence[Path]) -> None:
        """Tell the pods at *targets* that their mount was given a new connection."""
        for target in targets:
            if (record := self._ledger.at(target)) is not None:
                self._tell(
                    record.pod,
                    "DatasetMountedAnew",
                    f"the mount of {record.dataset} had failed and was made anew; restart "
                    "containers without mountPropagation HostToContainer",
                )

    # What is to be done

    async def _publish(self, call: PublishCall) -> None:
        try:
            await self._in_time(call)
        except Exception as error:
            if isinstance(error, CsiError):
                name_dataset(error, call.attributes.dataset)
            self.conditions.note_failure(call.wanted.volume_id, error)
            self._tell(call.pod, "DatasetNotMounted", str(error) or type(error).__name__)
            raise
        self.conditions.forget_failure(call.wanted.volume_id)

    async def _in_time(self, call: PublishCall) -> None:
        try:
            async with asyncio.timeout(PUBLISH_SECONDS):
                await self._bring_about(call)
        except TimeoutError:
            raise UnavailableError(
                f"{call.attributes.dataset} was not mounted within {PUBLISH_SECONDS:g} s"
            ) from None

    async def _bring_about(self, call: PublishCall) -> None:
        if not self._is_kubelets(call.wanted.target):
            raise InvalidArgumentError(
                f"target_path {str(call.wanted.target)!r} is not below {self._config.kubelet_dir}; "
                "is the driver's --kubelet-dir the kubelet's --root-dir?"
            )
        self._check_allowed(call)
        credentials = credentials_of(call, self._config, self._identity_key)
        self._check_endpoints(call, credentials)
        await self._reach("publish.check")
        table = await self._targets.table()
        standing = self._standing(call.wanted, table)
        await self._reach("publish.compare")
        if standing is None:
            await self._publish_anew(call, credentials, table)
        else:
            await self._uphold(standing, call, credentials)

    def _standing(self, wanted: Publication, table: Sequence[MountInfo]) -> PublishRecord | None:
        """Return the record of what is published as *wanted* already.

        Raises AlreadyPublishedError and OtherTargetError where *wanted* cannot be.
        """
        mounted = {info.mountpoint for info in table}
        held = [
            record.publication
            for record in self._ledger.records()
            if record.state is PublishState.DONE and record.target in mounted
        ]
        same = compare(wanted, held) is Verdict.SAME
        return self._ledger.at(wanted.target) if same else None

    async def _publish_anew(
        self, call: PublishCall, credentials: Credentials, table: Sequence[MountInfo]
    ) -> None:
        """Publish what is not: after an attempt that left something, from the beginning."""
        wanted = call.wanted
        leftover = self._ledger.at(wanted.target)
        if leftover is not None:
            await self._placing.clear(leftover.publication, "leftover")
        plan = await self._plan(call, credentials)
        if leftover is None and topmost(table, wanted.target) is not None:
            await self._placing.recognise(plan)
        else:
            await self._placing.place(plan)

    async def _uphold(
        self, record: PublishRecord, call: PublishCall, credentials: Credentials
    ) -> None:
        """See that what is published answers, and does so with the newest credentials.

        A failure takes nothing away: containers may be using the mount.
        """
        if not self._sources.is_live(record.key):
            record = await self._revive(record, call, credentials)
        if credentials.digest != record.credentials:
            await self._refresh(record, call, credentials)

    async def _revive(
        self, record: PublishRecord, call: PublishCall, credentials: Credentials
    ) -> PublishRecord:
        """Have a dead mount answer again: by what is known of it, else from the beginning.

        The dead one is taken off only when there is another to show.
        """
        try:
            await self._sources.revive(record.key)
        except UnavailableError as error:
            log.warning("%s; resolving %s again", error, record.dataset)
        else:
            return record
        plan = await self._plan(call, credentials, record.snapshot_id)
        await self._sources.acquire(plan.resolved.spec, record.target)
        await self._reach("revive.acquire")
        await self._placing.clear(record.publication, "leftover")
        await self._placing.place(plan)
        self.tell_rebound([record.target])
        return self.published_at(record.volume_id, record.target)

    async def _refresh(
        self, record: PublishRecord, call: PublishCall, credentials: Credentials
    ) -> None:
        """Hand on new credentials once they have proved good."""
        question = question_of(call, credentials, self._config, record.snapshot_id)
        resolved = await self._ask(question, self._answers.get_anew)
        await self._reach("publish.refresh")
        await self._sources.refresh(record.key, resolved.spec)
        await self._ledger.save(replace(record, credentials=credentials.digest))

    async def _unpublish(self, volume_id: str, target: Path) -> None:
        record = self._ledger.at(target)
        if record is not None and record.volume_id != volume_id:
            return  # another volume's target: this one is not there
        if record is None and not self._is_kubelets(target):
            return  # nothing was ever published there, and what is mounted is somebody else's
        await self._reach("unpublish.check")
        await self._placing.take_off(volume_id, target, "unpublish")
        self.conditions.forget_failure(volume_id)

    async def _clear_orphan(self, record: PublishRecord) -> None:
        """Take off what an earlier life did not finish, or what a reboot has unmounted."""
        try:
            await self._placing.clear(record.publication, "orphan")
        except UnavailableError as error:
            log.error("what is left at %s stays for now: %s", record.target, error)
        else:
            self._orphaned(record.state.value)

    # Asking and checking

    async def _plan(
        self, call: PublishCall, credentials: Credentials, pinned: str | None = None
    ) -> Plan:
        question = question_of(call, credentials, self._config, pinned)
        resolved = await self._ask(question, self._answers.get)
        await self._reach("publish.resolve")
        return Plan(call, resolved, credentials.digest)

    async def _ask(self, question: Question, ask: Resolve) -> Resolved:
        """Return what the mounter says to *question*, and note whether it could."""
        try:
            resolved = await ask(question)
        except MounterFailedError as error:
            self.conditions.note_answer(error)
            if is_unreachable(error):
                raise UnavailableError(
                    "access cannot be checked while the object store does not answer; it will be "
                    f"tried again: {error}"
                ) from error
            raise
        self.conditions.note_answer(None)
        return resolved

    def _check_ready(self) -> None:
        if not self.ready:
            raise UnavailableError("the driver is starting; it will be tried again")

    def _is_kubelets(self, target: Path) -> bool:
        return target.is_relative_to(self._config.kubelet_dir)

    def _check_allowed(self, call: PublishCall) -> None:
        """Raise DeniedError unless the pod's namespace may use every place that was named."""
        said, rules, namespace = call.attributes, self._config.datasets, call.pod.namespace
        check_allowed(rules, namespace, said.dataset)
        if said.repository is not None:
            check_repository(rules, namespace, said.dataset, said.repository)

    def _check_endpoints(self, call: PublishCall, credentials: Credentials) -> None:
        """Raise DeniedError unless the pod's namespace may ask where it says."""
        for endpoint in (call.attributes.endpoint, credentials.endpoint):
            if endpoint is not None:
                check_endpoint(self._config.datasets, call.pod.namespace, endpoint)


def name_dataset(error: CsiError, dataset: str) -> None:
    """Have *error* say which dataset it is about; one that several pods are given says it once."""
    text = str(error)
    if dataset not in text:
        error.args = (f"{dataset}: {text}",)


def unrecorded_users(table: Sequence[MountInfo], config: DriverConfig) -> dict[Path, str]:
    """Return the targets below the kubelet's directory that show a source mount, by its key."""
    keys = {
        (info.major, info.minor): info.mountpoint.name
        for info in table
        if info.mountpoint.parent == config.source_dir
    }
    pods = config.kubelet_dir / "pods"
    return {
        info.mountpoint: keys[info.major, info.minor]
        for info in table
        if (info.major, info.minor) in keys and _is_target(info.mountpoint, pods)
    }


def _is_target(mountpoint: Path, pods: Path) -> bool:
    """Whether a path is one that the kubelet gives to CSI drivers.

    `.../pods/UID/volumes/kubernetes.io~csi/NAME/mount`, and not the binds that it makes of them.
    """
    return mountpoint.is_relative_to(pods) and mountpoint.parts[-3:-2] == ("kubernetes.io~csi",)


def _keys(volume_id: str, target: Path) -> frozenset[Hashable]:
    return frozenset((volume_id, target))
