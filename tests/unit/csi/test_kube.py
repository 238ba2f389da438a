"""The driver and the Kubernetes API: the startup taint and events, against a fake server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry

from csi import taint
from csi.config import DriverConfig
from csi.errors import ConfigurationError
from csi.events import MOST_MESSAGE, MOST_WAITING, QUIET_SECONDS, PodEvents
from csi.kubeapi import KubeAccess, KubeApi, KubeApiError, in_cluster
from csi.metrics import DriverMetrics
from csi.pod import PodInfo
from csi.threads import Threads
from tests.fakes.kube_api import FakeKubeApi, fake_kube_api
from tests.fakes.waiting import until

NODE = "node-1"
OURS = {"key": "csi.headrace.dev/agent-not-ready", "effect": "NoExecute"}
OTHER = {"key": "other.dev/not-ready", "effect": "NoSchedule"}
POD = PodInfo("trainer-0", "research", "uid-1", "default")
QUARTER_OF_AN_HOUR = 900.0
MANY = 10_000
CONFIG = DriverConfig(Path("/csi/csi.sock"), NODE)


@pytest.fixture
def kube() -> Iterator[FakeKubeApi]:
    with fake_kube_api(FakeKubeApi(NODE, [OURS, OTHER])) as api:
        yield api


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taint, "FIRST_DELAY_SECONDS", 0.01)
    monkeypatch.setattr(taint, "LONGEST_DELAY_SECONDS", 0.02)


async def remove_taint(kube: FakeKubeApi) -> None:
    async with asyncio.timeout(20):
        api = KubeApi(KubeAccess(kube.url), Threads())
        await taint.remove_taint(api, NODE, OURS["key"])


def test_the_startup_taint_is_taken_off_and_others_stay(kube: FakeKubeApi) -> None:
    asyncio.run(remove_taint(kube))
    assert kube.taints == [OTHER]


def test_a_node_without_the_taint_is_not_changed(kube: FakeKubeApi) -> None:
    kube.taints = []
    asyncio.run(remove_taint(kube))
    assert kube.requests == [f"GET /api/v1/nodes/{NODE}"]


@pytest.mark.usefixtures("impatient")
def test_an_api_server_that_fails_is_asked_until_it_does_not(kube: FakeKubeApi) -> None:
    kube.refusals = 7
    asyncio.run(remove_taint(kube))
    assert kube.taints == [OTHER]
    assert len(kube.requests) == 9


@pytest.mark.usefixtures("impatient")
def test_a_taint_that_somebody_adds_meanwhile_is_kept(kube: FakeKubeApi) -> None:
    new = {"key": "new.dev/pressure", "effect": "NoSchedule"}
    kube.meddle = new
    asyncio.run(remove_taint(kube))
    assert kube.taints == [OTHER, new]


def test_after_a_quarter_of_an_hour_without_an_api_server_the_taint_still_goes(
    kube: FakeKubeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []

    async def pass_time(seconds: float) -> None:
        waits.append(seconds)
        if sum(waits) > QUARTER_OF_AN_HOUR:
            kube.refusals = 0

    kube.refusals = MANY
    monkeypatch.setattr(taint, "asyncio", SimpleNamespace(sleep=pass_time))
    asyncio.run(remove_taint(kube))
    assert kube.taints == [OTHER]
    assert len(kube.requests) < 2 * QUARTER_OF_AN_HOUR / taint.LONGEST_DELAY_SECONDS + 10


def test_waits_grow_to_a_minute_and_never_end() -> None:
    waits = [wait for wait, _ in zip(taint.delays(), range(100), strict=False)]
    assert waits[0] <= 1
    assert all(30 <= wait <= 60 for wait in waits[6:])


def test_what_the_api_server_says_is_in_the_error(kube: FakeKubeApi) -> None:
    api = KubeApi(KubeAccess(kube.url), Threads())
    with pytest.raises(KubeApiError, match="GET /api/v1/nodes/nobody: HTTP 404, no /api"):
        asyncio.run(api.node("nobody"))


def test_an_api_server_that_is_away_is_an_error_of_ours() -> None:
    with pytest.raises(KubeApiError, match="cannot be asked"):
        asyncio.run(KubeApi(KubeAccess("http://127.0.0.1:1"), Threads()).node(NODE))


def test_the_api_server_is_where_every_pod_is_told() -> None:
    told = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    assert in_cluster(told).url == "https://10.0.0.1:443"
    assert in_cluster({**told, "KUBERNETES_SERVICE_HOST": "fd00::1"}).url == "https://[fd00::1]:443"
    with pytest.raises(ConfigurationError, match="HEADRACE_CSI_KUBE_URL"):
        in_cluster({})


class Clock:
    """Tells whatever time a test wants."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def events_to(
    url: str | None, clock: Clock, registry: CollectorRegistry | None = None
) -> PodEvents:
    api = KubeApi(KubeAccess(url), Threads()) if url is not None else None
    metrics = DriverMetrics(registry or CollectorRegistry(), CONFIG.driver_name, "1")
    return PodEvents(CONFIG, metrics, api, clock)


def dropped(registry: CollectorRegistry) -> float | None:
    return registry.get_sample_value("headrace_csi_events_dropped_total")


def test_an_event_names_the_pod_its_node_and_what_happened(kube: FakeKubeApi) -> None:
    async def scenario() -> None:
        events = events_to(kube.url, Clock())
        events.tell_nowait(POD, "DatasetNotMounted", "no such ref")
        writing = asyncio.create_task(events.run())
        await until(lambda: len(kube.events) == 1)
        writing.cancel()

    asyncio.run(scenario())
    (event,) = kube.events
    assert event["involvedObject"]["uid"] == "uid-1"
    assert event["metadata"]["namespace"] == "research"
    assert event["source"] == {"component": CONFIG.driver_name, "host": NODE}
    assert (event["reason"], event["message"]) == ("DatasetNotMounted", "no such ref")


def test_the_same_is_told_of_a_pod_once_in_five_minutes(kube: FakeKubeApi) -> None:
    async def scenario() -> None:
        clock = Clock()
        events = events_to(kube.url, clock)
        writing = asyncio.create_task(events.run())
        for reason in ("A", "A", "B"):
            events.tell_nowait(POD, reason, "first")
        clock.now = QUIET_SECONDS
        events.tell_nowait(POD, "A", "again")
        await until(lambda: len(kube.events) == 3)
        writing.cancel()

    asyncio.run(scenario())
    assert [(event["reason"], event["message"]) for event in kube.events] == [
        ("A", "first"),
        ("B", "first"),
        ("A", "again"),
    ]


def test_an_event_holds_no_secret_and_is_no_longer_than_the_api_takes(kube: FakeKubeApi) -> None:
    async def scenario() -> None:
        events = events_to(kube.url, Clock())
        events.tell_nowait(POD, "A", "key AKIAIOSFODNN7EXAMPLE " + "ü" * 2000)
        writing = asyncio.create_task(events.run())
        await until(lambda: len(kube.events) == 1)
        writing.cancel()

    asyncio.run(scenario())
    message = kube.events[0]["message"]
    assert message.startswith("key *** ü")
    assert len(message.encode()) <= MOST_MESSAGE


def test_events_that_are_too_many_or_refused_are_counted_and_dropped(kube: FakeKubeApi) -> None:
    registry = CollectorRegistry()
    kube.refusals = MOST_WAITING

    async def scenario() -> None:
        events = events_to(kube.url, Clock(), registry)
        for number in range(MOST_WAITING + 5):
            events.tell_nowait(PodInfo("p", "ns", str(number), ""), "A", "message")
        assert dropped(registry) == 5
        writing = asyncio.create_task(events.run())
        await until(lambda: dropped(registry) == MOST_WAITING + 5)
        writing.cancel()

    asyncio.run(scenario())
    assert kube.events == []


def test_without_an_api_nothing_is_kept_for_it() -> None:
    registry = CollectorRegistry()
    events = events_to(None, Clock(), registry)
    for number in range(MOST_WAITING + 5):
        events.tell_nowait(PodInfo("p", "ns", str(number), ""), "A", "message")
    assert dropped(registry) == 0
