"""What the mounter counts of mounts, summed up so that it outlives mounts and mounters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

from prometheus_client import CollectorRegistry, Counter

from csi.mounter import MountStatus

MOST_DATASETS = 50
OTHER_DATASETS = "other"
NOTHING = MountStatus(alive=False)


def added(now: MountStatus, before: MountStatus) -> MountStatus:
    """Return what *now* counts and *before* did not; all of it where the count began anew."""
    names = [field.name for field in fields(now) if field.name not in {"alive", "workers"}]
    more = {name: getattr(now, name) - getattr(before, name) for name in names}
    if any(value < 0 for value in more.values()):
        return now
    return MountStatus(alive=now.alive, **more)


class DatasetLabels:
    """Values for the label `dataset`: the first so many datasets by name, all later ones as one."""

    def __init__(self, most: int = MOST_DATASETS) -> None:
        """Give *most* datasets a label of their own for as long as the process lives."""
        self._most = most
        self._known: set[str] = set()

    def label(self, dataset: str) -> str:
        """Return what *dataset* is counted under."""
        if dataset not in self._known and len(self._known) >= self._most:
            return OTHER_DATASETS
        self._known.add(dataset)
        return dataset


class MountMetrics:
    """Metrics of all mounts there were. Belongs to the event loop."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Begin at zero, in *registry*."""
        self._labels = DatasetLabels()
        self._before: dict[str, MountStatus] = {}
        self._takeovers = Counter(
            "headrace_csi_takeovers",
            "Times that another worker took over a live mount.",
            registry=registry,
        )
        self._renewals = Counter(
            "headrace_csi_renewals",
            "Connections that were aborted, their mounts made anew.",
            registry=registry,
        )
        self._stalls = Counter(
            "headrace_csi_stall_seconds",
            "Seconds during which a mount had no worker that answered.",
            registry=registry,
        )
        self._chunks = Counter(
            "headrace_csi_dataset_chunks",
            "Chunks that reads wanted, by dataset and by whether the node had them.",
            ("dataset", "result"),
            registry=registry,
        )
        self._bytes = Counter(
            "headrace_csi_dataset_bytes",
            "Bytes that reads wanted, by dataset and by whether the node had them.",
            ("dataset", "result"),
            registry=registry,
        )

    def note(self, statuses: Mapping[str, MountStatus], datasets: Mapping[str, str]) -> None:
        """Add what mounts have counted since the last time; *datasets* says what each shows."""
        for key, status in statuses.items():
            self._add(
                datasets.get(key, OTHER_DATASETS), added(status, self._before.get(key, NOTHING))
            )
        self._before = dict(statuses)

    def _add(self, dataset: str, more: MountStatus) -> None:
        label = self._labels.label(dataset)
        self._takeovers.inc(more.takeovers)
        self._renewals.inc(more.renewals)
        self._stalls.inc(more.stall_seconds)
        self._chunks.labels(label, "hit").inc(more.hits)
        self._chunks.labels(label, "miss").inc(more.misses)
        self._bytes.labels(label, "hit").inc(more.hit_bytes)
        self._bytes.labels(label, "miss").inc(more.miss_bytes)
