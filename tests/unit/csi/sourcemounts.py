"""Source mounts over a table of mounts: everything but the mounter is in this process."""

from __future__ import annotations

from pathlib import Path

from csi.budget import Budget
from csi.mounter import Mounter
from csi.sources import SourceMounts
from csi.specs import SpecFiles
from csi.threads import Threads
from tests.fakes.csi_mounts import FakeMounts


def sources_in(root: Path, mounter: Mounter | None = None) -> SourceMounts:
    """Return what keeps its mounts and their specs below *root*, which lies in memory."""
    (root / "mounts").mkdir()
    return SourceMounts(
        root / "mounts",
        mounter or Mounter(root / "supervisor"),
        FakeMounts(),
        Threads(),
        specs=SpecFiles(root / "specs"),
        budget=Budget(None, 1),
        grace_seconds=0,
        rebound=lambda _: None,
    )
