"""How long a pod waits for its volume, and what that asks of the object store and the API server.

One session is the life of one node: the first publish of a dataset, publishes of what the node
knows but has not mounted, and publishes of what is mounted.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

from bench.scenarios.startup import Site
from bench.synthetic import path_of
from tests.csi.cluster import NODE_NAME, ClusterNode, cluster_node
from tests.csi.crowd import Claim, Crowd
from tests.csi.pods import Pod, Volume
from tests.fakes.kube_api import FakeKubeApi, fake_kube_api

PUBLISHES = 20
"""Of each state but the first of a session."""
LONG_SECONDS = 3000
LISTING = "GET listing"
PURPOSES = {"list-type": "listing", "/.headrace/refs/": "ref", "/.headrace/snapshots/": "manifest"}
"""Part of a request's target → what it is about; anything else is the data's."""


class OwnSite(Site):
    """Datasets that have their snapshots where pods may take them from."""

    __slots__ = ()

    def place(self, file_count: int) -> tuple[str, str]:
        """Return the URLs of a dataset and of its repository."""
        source = f"{self.bucket_url}{file_count}/data"
        return source, f"{source}/.headrace"


class State(StrEnum):
    """What a node has when a pod comes."""

    COLD = "nothing"
    KNOWN = "the snapshot, no mount"
    WARM = "the mount"


@dataclass(frozen=True, slots=True)
class Wait:
    """One pod's wait for its volume, and who was asked for it."""

    seconds: float
    requests: Mapping[str, int]
    api_calls: int

    @property
    def request_count(self) -> int:
        """How many requests went to the object store."""
        return sum(self.requests.values())


@contextmanager
def quiet_node(*options: str) -> Iterator[tuple[ClusterNode, FakeKubeApi]]:
    """Give a node that could write events, and the API server that would be told."""
    with (
        fake_kube_api(FakeKubeApi(NODE_NAME)) as api,
        cluster_node("--kube-api", f"--kube-url={api.url}", *options) as node,
    ):
        yield node, api


def session(site: Site, file_count: int, _: int) -> dict[State, list[Wait]]:
    """Publish a dataset on a new node in each state that the node comes into."""
    with quiet_node("--grace=0") as (node, api):
        asker = Asker(site, node, api, file_count)
        claims = [asker.claim(str(LONG_SECONDS - number)) for number in range(PUBLISHES + 1)]
        again = [asker.claim(str(LONG_SECONDS)) for _ in range(PUBLISHES)]
        waits = {
            State.COLD: [asker.publish(claims[0])],
            State.KNOWN: [asker.publish(claim) for claim in claims[1:]],
            State.WARM: [asker.publish(claim) for claim in again],
        }
        Crowd(node.kubelet, [*claims, *again], 4).tear_down()
        node.await_tidiness()
    return waits


class Asker:
    """Publishes one dataset on one node, pod after pod."""

    def __init__(self, site: Site, node: ClusterNode, api: FakeKubeApi, file_count: int) -> None:
        """Know where the dataset of *file_count* files is and who counts."""
        self._site = site
        self._node = node
        self._api = api
        self._source, _ = site.place(file_count)
        environ = site.environ
        self._secrets = {
            "accessKeyId": environ["AWS_ACCESS_KEY_ID"],
            "secretAccessKey": environ["AWS_SECRET_ACCESS_KEY"],
            "endpoint": environ["AWS_ENDPOINT_URL"],
            "region": environ["AWS_REGION"],
        }

    def claim(self, deadline: str) -> Claim:
        """Return a new pod's claim; another *deadline* shares neither mount nor answer."""
        named = {"dataset": self._source, "deadline": deadline}
        return Claim(Pod(), Volume("data", named, self._secrets))

    def publish(self, claim: Claim) -> Wait:
        """Have a claim published and see that it answers, by what reads no data."""
        before, calls = Counter(self._site.proxy.requests), len(self._api.requests)
        began = time.perf_counter()
        target = self._node.kubelet.publish(claim.pod, claim.volume)
        seconds = time.perf_counter() - began
        asked = self._site.proxy.requests - before
        first = path_of(0)
        if (target / first).stat().st_size != len(first):
            message = f"{first} is not as long as it should be"
            raise ValueError(message)
        return Wait(seconds, by_kind(asked), len(self._api.requests) - calls)


def by_kind(requests: Mapping[tuple[str, str], int]) -> dict[str, int]:
    """Count requests by what they were about."""
    counts: Counter[str] = Counter()
    for (method, target), count in requests.items():
        purpose = next((PURPOSES[part] for part in PURPOSES if part in target), "data")
        counts[f"{method} {purpose}"] += count
    return dict(sorted(counts.items()))
