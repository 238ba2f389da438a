from __future__ import annotations

import urllib.error
import urllib.request

import pytest
from prometheus_client import CollectorRegistry

from csi.errors import BrokenError, ConfigurationError
from csi.health import MOST_SILENT_SECONDS, Health
from csi.metrics import DriverMetrics
from csi.monitoring import Pages, monitoring


class Clock:
    """Tells whatever time a test wants."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def get(port: int | None, path: str) -> tuple[int, str]:
    """Return status and text of a page."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_a_driver_is_ready_when_it_says_so_and_until_it_says_otherwise() -> None:
    health = Health()
    assert not health.is_ready()
    health.set_ready(True)
    assert health.is_ready()
    health.set_ready(False)
    assert not health.is_ready()


def test_a_driver_whose_loop_does_not_turn_is_broken_until_it_does() -> None:
    clock = Clock()
    health = Health(clock)
    health.set_ready(True)
    clock.now = MOST_SILENT_SECONDS + 1
    with pytest.raises(BrokenError, match="61 s"):
        health.is_ready()
    health.beat()
    assert health.is_ready()


def test_healthz_says_how_the_driver_feels() -> None:
    clock = Clock()
    health = Health(clock)
    with monitoring(0, Pages(health, CollectorRegistry())) as port:
        assert get(port, "/healthz") == (503, "not serving\n")
        health.set_ready(True)
        assert get(port, "/healthz") == (200, "ok\n")
        clock.now = MOST_SILENT_SECONDS + 1
        status, text = get(port, "/healthz")
        assert (status, "event loop" in text) == (503, True)


def test_metrics_are_shown_as_prometheus_reads_them() -> None:
    registry = CollectorRegistry()
    metrics = DriverMetrics(registry, "csi.headrace.dev", "1.2")
    metrics.rpc("Probe", "OK", 0.001)
    with monitoring(0, Pages(Health(), registry)) as port:
        status, text = get(port, "/metrics")
    assert status == 200
    assert 'headrace_csi_rpc_seconds_count{code="OK",method="Probe"} 1.0' in text
    assert 'headrace_csi_build_info{driver="csi.headrace.dev",version="1.2"} 1.0' in text


def test_other_pages_are_not_there() -> None:
    with monitoring(0, Pages(Health(), CollectorRegistry())) as port:
        assert get(port, "/") == (404, "/healthz or /metrics\n")


def test_a_port_that_is_taken_is_named() -> None:
    pages = Pages(Health(), CollectorRegistry())
    with (
        monitoring(0, pages) as port,
        pytest.raises(ConfigurationError, match=f"port {port}"),
        monitoring(port, pages),
    ):
        pass


def test_without_a_port_nothing_is_served() -> None:
    with monitoring(None, Pages(Health(), CollectorRegistry())) as port:
        assert port is None
