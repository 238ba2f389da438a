from __future__ import annotations

from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry

from csi.mounter import MountStatus
from csi.mountmetrics import MOST_DATASETS, MountMetrics, added

BEFORE = MountStatus(alive=True, workers=1, hits=10, misses=2, hit_bytes=1000, stall_seconds=0.5)


def test_what_is_added_is_the_difference() -> None:
    more = added(replace(BEFORE, hits=15, stall_seconds=0.75), BEFORE)
    assert (more.hits, more.misses, more.stall_seconds) == (5, 0, 0.25)


def test_a_count_that_went_down_began_anew_and_counts_whole() -> None:
    assert added(replace(BEFORE, hits=3), BEFORE) == replace(BEFORE, hits=3)


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def chunks(registry: CollectorRegistry, dataset: str, result: str = "hit") -> float | None:
    labels = {"dataset": dataset, "result": result}
    return registry.get_sample_value("headrace_csi_dataset_chunks_total", labels)


def test_counts_outlive_mounts_and_mounters(registry: CollectorRegistry) -> None:
    metrics = MountMetrics(registry)
    metrics.note({"k1": BEFORE}, {"k1": "s3://a"})
    metrics.note({"k1": replace(BEFORE, hits=12)}, {"k1": "s3://a"})
    metrics.note({}, {})
    metrics.note({"k2": replace(BEFORE, hits=1)}, {"k2": "s3://a"})
    assert chunks(registry, "s3://a") == 13
    assert chunks(registry, "s3://a", "miss") == 4
    assert registry.get_sample_value("headrace_csi_stall_seconds_total") == 1.0


def test_takeovers_and_renewals_are_summed_over_all_mounts(registry: CollectorRegistry) -> None:
    status = MountStatus(alive=True, takeovers=2, renewals=1)
    MountMetrics(registry).note({"k1": status, "k2": status}, {})
    assert registry.get_sample_value("headrace_csi_takeovers_total") == 4
    assert registry.get_sample_value("headrace_csi_renewals_total") == 2


def test_datasets_past_a_bound_are_counted_together(registry: CollectorRegistry) -> None:
    metrics = MountMetrics(registry)
    keys = [f"k{number}" for number in range(MOST_DATASETS + 10)]
    status = MountStatus(alive=True, hits=1)
    metrics.note(dict.fromkeys(keys, status), {key: f"s3://{key}" for key in keys})
    assert chunks(registry, "s3://k0") == 1
    assert chunks(registry, f"s3://k{MOST_DATASETS}") is None
    assert chunks(registry, "other") == 10


def test_a_mount_of_which_nothing_is_known_but_its_counts_is_another(
    registry: CollectorRegistry,
) -> None:
    MountMetrics(registry).note({"k1": MountStatus(alive=True, hits=7)}, {})
    assert chunks(registry, "other") == 7
