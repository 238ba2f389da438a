"""Pods that come to a Kubernetes node: what each waits for its volume, and what many at once cost.

The driver, the mounter and the keeper run as their containers do; the kubelet is the one of the
tests, and the object store a real S3 server behind a proxy that counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.crowding import Crowding, crowd_in
from bench.measure import interleaved
from bench.podsreport import report
from bench.publishing import OwnSite, State, Wait, quiet_node, session
from bench.report import Report
from bench.scenarios.startup import publish, put_files
from bench.synthetic import FILES_IN_DIRECTORY
from tests.csi.bucket import Bucket, new_bucket, write_files
from tests.csi.cluster import ClusterNode
from tests.csi.crowd import Claim, Crowd, pods_with_volumes
from tests.csi.pods import Pod
from tests.fakes.faultproxy import fault_proxy
from tests.seaweed import SeaweedServer, seaweed

Waits = dict[int, dict[State, list[Wait]]]
AT_ONCE = 32
VOLUMES = 4


@dataclass(frozen=True, slots=True)
class CrowdSize:
    """How many pods come together."""

    at_once: int
    """Of one dataset."""
    pods: int
    """Of several."""
    datasets: int


def run(
    scratch: Path,
    sizes: Sequence[int],
    rounds: int,
    crowd: CrowdSize,
    say: Callable[[str], None],
) -> Report:
    """Publish datasets of each size; then let a *crowd* come."""
    with seaweed("bench") as server:
        waits = wait_for_volumes(server, scratch, sizes, rounds, say)
        crowdings = let_come(server, scratch, crowd, say)
    return report(waits, crowdings, rounds)


def wait_for_volumes(
    server: SeaweedServer,
    scratch: Path,
    sizes: Sequence[int],
    rounds: int,
    say: Callable[[str], None],
) -> Waits:
    """Return each wait by the size of the dataset and what the node had."""
    with fault_proxy(server.endpoint) as proxy:
        environ = {**server.environ, "AWS_ENDPOINT_URL": proxy.endpoint}
        site = OwnSite(proxy, server.url(""), environ, scratch)
        for file_count in sizes:
            say(f"publishing {file_count:,} files")
            # Access is tried in one of these, whichever directory that is.
            put_files(site, file_count, range(0, file_count, FILES_IN_DIRECTORY))
            publish(site, file_count)
        say(f"{len(sizes) * rounds} nodes")
        sessions = interleaved(
            {size: partial(session, site, size) for size in sizes},
            rounds,
        )
    return {size: merged(some) for size, some in sessions.items()}


def merged(sessions: Sequence[dict[State, list[Wait]]]) -> dict[State, list[Wait]]:
    """Return the waits of all sessions by state."""
    return {state: [wait for each in sessions for wait in each[state]] for state in State}


def let_come(
    server: SeaweedServer, scratch: Path, size: CrowdSize, say: Callable[[str], None]
) -> list[Crowding]:
    """Let many pods come to one node, twice."""
    say(f"making {size.datasets} datasets")
    buckets = [small_bucket(server, scratch / f"small-{n}") for n in range(size.datasets)]
    same = [Claim(Pod(), buckets[0].volume()) for _ in range(size.at_once)]
    many = pods_with_volumes(size.pods, buckets, VOLUMES)
    with quiet_node("--grace=0") as (node, api):
        warm_up(node, buckets[0])
        say(f"{size.at_once} pods at once, then {size.pods} with {VOLUMES} volumes each")
        crowdings = [
            crowd_in(f"{size.at_once} of one dataset at once", node, same, size.at_once),
            crowd_in(f"{size.pods} x {VOLUMES} of {size.datasets} datasets", node, many, AT_ONCE),
        ]
        if api.requests:
            message = f"the API server was asked: {api.requests[:3]}"
            raise ValueError(message)
    return crowdings


def warm_up(node: ClusterNode, bucket: Bucket) -> None:
    """Let a volume come and go, after which all who stay are there."""
    first = Crowd(node.kubelet, [Claim(Pod(), bucket.volume())], 1)
    first.publish()
    first.tear_down()
    node.await_tidiness()


def small_bucket(server: SeaweedServer, directory: Path) -> Bucket:
    """Return a published dataset of a few files."""
    made = new_bucket(server, directory)
    made.snapshot(write_files(directory))
    return made
