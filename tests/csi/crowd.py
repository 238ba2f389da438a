"""Many volumes at once on one node, published and torn down in random order."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.csi.bucket import Bucket
from tests.csi.kubelet import Kubelet
from tests.csi.pods import Pod, Volume

PATIENCE_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Claim:
    """A pod's wish for a volume."""

    pod: Pod
    volume: Volume

    def target(self, kubelet: Kubelet) -> Path:
        """Return where the pod finds it."""
        return self.pod.target(kubelet.directory, self.volume)


class Crowd:
    """Claims of one node's pods, dealt with by so many threads at once, in random order."""

    def __init__(
        self, kubelet: Kubelet, claims: Iterable[Claim], at_once: int, seed: int = 1
    ) -> None:
        """Know the *claims*; nothing is published yet."""
        self.claims = list(claims)
        self._kubelet = kubelet
        self._at_once = at_once
        self._chance = random.Random(seed)

    def publish(self) -> list[float]:
        """Publish all and return how long each took, what the kubelet had to repeat included."""
        return self._each(
            lambda claim: self._kubelet.publish_patiently(claim.pod, claim.volume, PATIENCE_SECONDS)
        )

    def tear_down(self) -> list[float]:
        """Unpublish all and return how long each took."""
        return self._each(
            lambda claim: self._kubelet.unpublish_patiently(
                claim.pod, claim.volume, PATIENCE_SECONDS
            )
        )

    def targets(self) -> list[Path]:
        """Return where all of them are."""
        return [claim.target(self._kubelet) for claim in self.claims]

    def _each(self, do: Callable[[Claim], object]) -> list[float]:
        claims = self._chance.sample(self.claims, len(self.claims))
        with ThreadPoolExecutor(self._at_once) as threads:
            return list(threads.map(lambda claim: _timed(do, claim), claims))


def pods_with_volumes(count: int, buckets: Sequence[Bucket], each: int) -> list[Claim]:
    """Return claims of *count* pods, each of which shows *each* datasets, all of them in turn."""
    claims = []
    for first in range(count):
        pod = Pod(name=f"trainer-{first}")
        for number in range(each):
            bucket = buckets[(first * each + number) % len(buckets)]
            claims.append(Claim(pod, bucket.volume(f"data-{number}")))
    return claims


def _timed(do: Callable[[Claim], object], claim: Claim) -> float:
    began = time.monotonic()
    do(claim)
    return time.monotonic() - began
