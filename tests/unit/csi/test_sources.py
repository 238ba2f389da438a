"""Source mounts without a mount: what is told when one goes at the wrong moment."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from csi.budget import Budget
from csi.errors import UnavailableError
from csi.mounter import Mounter
from csi.sources import SourceMounts
from csi.specs import SpecFiles
from csi.threads import Threads
from tests.fakes.csi_mounts import FakeMounts
from tests.unit.csi.test_specs import KEY, spec_of
from vfs.mounting.spec import MountSpec


class ObligingMounter(Mounter):
    """Refreshes whatever it is told to."""

    async def refresh(self, key: str, spec: MountSpec) -> None:
        await asyncio.sleep(0)


@pytest.fixture
def root() -> Iterator[Path]:
    with TemporaryDirectory(dir="/dev/shm") as directory:
        yield Path(directory)


def test_credentials_for_a_mount_that_ended_meanwhile_are_to_be_brought_again(root: Path) -> None:
    (root / "mounts").mkdir()
    sources = SourceMounts(
        root / "mounts",
        ObligingMounter(root / "supervisor"),
        FakeMounts(),
        Threads(),
        specs=SpecFiles(root / "specs"),
        budget=Budget(None, 1),
        grace_seconds=0,
        rebound=lambda _: None,
    )
    with pytest.raises(UnavailableError, match="tried again"):
        asyncio.run(sources.refresh(KEY, spec_of(KEY)))
    assert list((root / "specs").iterdir()) == []
