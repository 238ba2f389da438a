"""A publisher on a node without a kernel: real records and directories, all else in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from csi.answers import Answers
from csi.attributes import parse_attributes
from csi.config import DriverConfig
from csi.credentials import identity_key
from csi.faultpoint import Fault, FaultPoints
from csi.ledger import Ledger
from csi.pod import PodInfo
from csi.publisher import Publisher, Surroundings
from csi.state import RecordFiles
from csi.targets import Targets
from csi.threads import Threads
from csi.volume import AccessMode, Arguments, Publication, PublishCall
from tests.fakes.csi_mounts import FakeMounts
from tests.fakes.csi_resolver import FakeResolver
from tests.fakes.csi_sources import FakeSources

T = TypeVar("T")

POD = PodInfo("trainer-0", "research", "uid-1", "default")
DATASET = "s3://bucket/imagenet"


class WatchedFaults(FaultPoints):
    """Tells when a step of the plan is reached."""

    def __init__(self, plan: Mapping[str, Fault]) -> None:
        self.plan(plan)

    def plan(self, plan: Mapping[str, Fault]) -> None:
        """Follow another plan from now on."""
        self._plan = dict(plan)
        self.passed: list[str] = []
        self.reached = asyncio.Event()

    async def reach(self, step: str) -> None:
        self.passed.append(step)
        if step in self._plan:
            self.reached.set()
        await super().reach(step)


class FakeNode:
    """What outlives a driver: mounts, directories, records. `driver` starts another one."""

    def __init__(self, root: Path) -> None:
        """Keep everything below *root*. To be made inside a running loop."""
        self.root = root
        self.pods = root / "kubelet" / "pods"
        self.pods.mkdir(parents=True, exist_ok=True)
        self.config = DriverConfig(
            endpoint=root / "csi.sock",
            node_name="node-1",
            kubelet_dir=root / "kubelet",
            state_dir=root / "state",
            run_dir=root / "run",
            node_identity_allowed=True,
        )
        self.config.run_dir.mkdir(exist_ok=True)
        self.mounts = FakeMounts()
        self.resolver = FakeResolver()
        self.sources = FakeSources(self.config.source_dir, self.mounts)
        self.told: list[tuple[PodInfo, str, str]] = []
        self.orphans: list[str] = []
        self.faults = WatchedFaults({})
        """Those of the last life."""

    async def driver(self, faults: Mapping[str, Fault] | None = None) -> Publisher:
        """Return a new life of the driver, started."""
        self.sources.users.clear()
        self.faults = WatchedFaults(faults or {})
        threads = Threads()
        publisher = Publisher(
            self.config,
            Surroundings(
                sources=self.sources,
                answers=Answers(self.resolver.resolve),
                targets=Targets(self.mounts, threads),
                ledger=Ledger(RecordFiles(self.config.record_dir), threads),
                identity_key=identity_key(self.config.run_dir),
                tell=lambda pod, reason, message: self.told.append((pod, reason, message)),
                orphaned=self.orphans.append,
                faults=self.faults,
            ),
        )
        for target, key in (await publisher.start()).items():
            self.sources.users[key].add(target)
        return publisher

    def target(self, name: str = "data") -> Path:
        """Return a target as the kubelet makes it: with a parent, and not there yet."""
        target = self.pods / f"pod-{name}" / "volumes" / "kubernetes.io~csi" / name / "mount"
        target.parent.mkdir(parents=True, exist_ok=True)
        return target

    def leftovers(self) -> list[str]:
        """Return whatever there is besides source mounts that nobody uses."""
        bound = [
            f"mounted: {info.mountpoint}"
            for info in self.mounts.table()
            if info.mountpoint.parent != self.config.source_dir
        ]
        directories = [f"directory: {path}" for path in self.pods.glob("**/mount")]
        records = [f"record: {path}" for path in self.config.record_dir.iterdir()]
        return [*bound, *directories, *records, *(f"used by {t}" for t in self.sources.used())]

    def is_published(self, target: Path, sub_path: str = "") -> bool:
        """Say whether the target shows a live source mount, which knows that it does."""
        shown = [info for info in self.mounts.at(target) if info.root == f"/{sub_path}"]
        return len(shown) == 1 and target in self.sources.used()


def on_a_node(scenario: Callable[[FakeNode], Awaitable[None]]) -> FakeNode:
    """Play *scenario* on a new node; its paths are short enough for sockets."""

    async def played(root: Path) -> FakeNode:
        node = FakeNode(root)
        await scenario(node)
        return node

    with TemporaryDirectory(prefix="hr-csi-") as root:
        return asyncio.run(played(Path(root)))


async def soon(wait: Awaitable[T]) -> T:
    """Return what is waited for, which takes a moment at most."""
    async with asyncio.timeout(10):
        return await wait


def call_of(
    target: Path,
    volume_id: str = "volume-1",
    mode: AccessMode = AccessMode.MULTI_NODE_READER_ONLY,
    attributes: Mapping[str, str] | None = None,
    secrets: Mapping[str, str] | None = None,
) -> PublishCall:
    """Return a call for `DATASET`, with *attributes* beside."""
    said = parse_attributes({"dataset": DATASET, **(attributes or {})})
    publication = Publication(volume_id, target, mode, Arguments(said))
    return PublishCall(publication, POD, secrets or {})
