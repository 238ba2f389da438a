"""Many pods on one node at once: how long each waits, and what the driver takes for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from bench.processes import cpu_seconds, descriptor_count, private_bytes
from tests.csi.cluster import HOLDERS, ClusterNode
from tests.csi.crowd import Claim, Crowd
from tests.node import wait_until

SETTLE_SECONDS = 20.0
TIDY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Held:
    """What the processes that stay have at one time."""

    descriptors: Mapping[str, int]
    processes: int
    driver_bytes: int

    @classmethod
    def by(cls, node: ClusterNode) -> Held:
        """Look at a node's processes."""
        roles = node.roles()
        counts = {role: sum(map(descriptor_count, roles[role])) for role in HOLDERS}
        size = sum(map(private_bytes, roles["node"]))
        return cls(counts, sum(map(len, roles.values())), size)


@dataclass(frozen=True, slots=True)
class Crowding:
    """What became of one crowd."""

    name: str
    publishes: Sequence[float]
    teardowns: Sequence[float]
    mounts: int
    shares: int
    driver_cpu_seconds: float
    """From before the first publish until after the last."""
    left: Sequence[str]
    before: Held
    full: Held
    after: Held

    @property
    def descriptors_more(self) -> int:
        """By how many descriptors the holder that has grown most has grown."""
        return max(self.after.descriptors[role] - self.before.descriptors[role] for role in HOLDERS)


def crowd_in(name: str, node: ClusterNode, claims: Sequence[Claim], at_once: int) -> Crowding:
    """Publish all *claims*, so many at once, look, and tear all down in another order."""
    before = Held.by(node)
    crowd = Crowd(node.kubelet, claims, at_once)
    cpu = cpu_seconds(node.pid("node"))
    publishes = crowd.publish()
    cpu = cpu_seconds(node.pid("node")) - cpu
    full, mounts = Held.by(node), len(node.source_mounts())
    teardowns = crowd.tear_down()
    left = left_on(node)
    return Crowding(
        name,
        publishes,
        teardowns,
        mounts,
        len({claim.volume.attributes["dataset"] for claim in claims}),
        cpu,
        left,
        before,
        full,
        settled(node, before),
    )


def left_on(node: ClusterNode) -> list[str]:
    """Return what stays although nobody uses it any more."""
    with suppress(AssertionError):
        wait_until(lambda: not node.leftovers(), TIDY_SECONDS)
    return node.leftovers()


def settled(node: ClusterNode, before: Held) -> Held:
    """Return what is held once it is no more than *before*, or after a while."""

    def is_settled() -> bool:
        now = Held.by(node)
        return (now.descriptors, now.processes) == (before.descriptors, before.processes)

    with suppress(AssertionError):
        wait_until(is_settled, SETTLE_SECONDS)
    return Held.by(node)
