"""All peers, in the order of tables: the limits, ourselves, the others."""

from __future__ import annotations

from collections.abc import Sequence

from bench.peers import Peer
from bench.peers.copying import CopyBeforeStart
from bench.peers.juicefs import JuiceFS
from bench.peers.native import LocalDisk
from bench.peers.published import HeadraceS3
from bench.peers.rclone import Rclone
from bench.peers.s3fs_fuse import S3fsFuse
from bench.peers.seaweedfs import SeaweedMount
from bench.peers.wire import Wire

NATIVE = LocalDisk.name
WIRE = Wire.name
LIMITS = (NATIVE, WIRE)
"""Not peers: nobody is faster than the local disk and its pages, or than the network."""
COPY = CopyBeforeStart.name
ORDER = "headrace-order"
COPY_ELSEWHERE = "has everything before it begins: see first-batch and epoch"
ORDER_ELSEWHERE = "announces an order: see epoch"
WIRE_ELSEWHERE = "fetches and shows nothing: see files and bigfile"
ONLY_AT_START = {COPY: COPY_ELSEWHERE, ORDER: ORDER_ELSEWHERE}
"""Who has no part in scenarios that mount first and measure then."""
NOT_MOUNTED = {**ONLY_AT_START, WIRE: WIRE_ELSEWHERE}
"""Who has no part in those that cannot do without a mount."""

PEERS: Sequence[Peer] = (
    LocalDisk(),
    Wire(),
    HeadraceS3(),
    HeadraceS3("headrace-pack", publishing=("--pack",)),
    HeadraceS3(ORDER, announcing=True),
    JuiceFS(),
    Rclone(),
    S3fsFuse(),
    SeaweedMount(),
    CopyBeforeStart(),
)


def is_ours(name: str) -> bool:
    """Whether that is the name of one of headrace's rows."""
    return name.partition("-")[0] == "headrace"


def named(names: Sequence[str]) -> Sequence[Peer]:
    """Return the peers of these *names*; all of them when there are none."""
    unknown = set(names) - {peer.name for peer in PEERS}
    if unknown:
        raise ValueError(f"no such peer: {', '.join(sorted(unknown))}")
    return [peer for peer in PEERS if not names or peer.name in names]
