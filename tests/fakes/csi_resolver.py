"""A mounter that resolves datasets from a dict."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from cachesvc.config import CacheConfig
from cachesvc.objectstore.origin import Origin
from csi.errors import CsiError
from csi.mounter import Resolved
from vfs.mounting.spec import MountSpec
from vfs.snapshots.dataset import DatasetRequest

SNAPSHOT = "a" * 40
MOVED_SNAPSHOT = "b" * 40


class FakeResolver:
    """Answers `resolve`; `fail` is raised by every question as long as it is set.

    While `gate` is not set no answer comes.
    """

    def __init__(self) -> None:
        self.questions: list[Mapping[str, object]] = []
        self.fail: CsiError | None = None
        self.snapshot = SNAPSHOT
        self.asked = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    async def resolve(self, question: Mapping[str, object]) -> Resolved:
        self.questions.append(question)
        self.asked.set()
        await self.gate.wait()
        if self.fail is not None:
            raise self.fail
        pinned = question["snapshot_id"]
        return Resolved(spec_of(question, str(pinned or self.snapshot)), 7, 1000)


def spec_of(question: Mapping[str, object], snapshot: str) -> MountSpec:
    environment = question["environment"]
    origin = Origin(str(question["source"]).rpartition("@")[0], {})
    share = _share(question, snapshot)
    return MountSpec(
        key=share,
        mountpoint=Path(str(question["mounts"])) / share,
        request=DatasetRequest(str(question["source"]), None, {}),
        source=origin,
        repository=origin,
        ref="main",
        snapshot_id=snapshot,
        manifest_size=1,
        cache=CacheConfig(Path("/cache")),
        uid=0,
        gid=0,
        environment=dict(environment) if isinstance(environment, Mapping) else {},
    )


def _share(question: Mapping[str, object], snapshot: str) -> str:
    told = {
        name: value
        for name, value in question.items()
        if name not in {"environment", "source", "snapshot_id"}
    }
    place = str(question["source"]).rpartition("@")[0]
    text = json.dumps([snapshot, place, told], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
