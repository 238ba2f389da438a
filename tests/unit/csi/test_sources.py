"""Source mounts without a mount: what is told when one goes at the wrong moment."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from csi.errors import UnavailableError
from csi.mounter import Mounter
from tests.unit.csi.sourcemounts import sources_in
from tests.unit.csi.test_specs import KEY, spec_of
from vfs.mounting.spec import MountSpec


class ObligingMounter(Mounter):
    """Refreshes whatever it is told to."""

    async def refresh(self, key: str, spec: MountSpec) -> None:
        await asyncio.sleep(0)


def test_credentials_for_a_mount_that_ended_meanwhile_are_to_be_brought_again(root: Path) -> None:
    sources = sources_in(root, ObligingMounter(root / "supervisor"))
    with pytest.raises(UnavailableError, match="tried again"):
        asyncio.run(sources.refresh(KEY, spec_of(KEY)))
    assert list((root / "specs").iterdir()) == []
