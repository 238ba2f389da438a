"""Events about pods: what `kubectl describe pod` shows beside kubelet's own words.

Failures, and what nobody would hear of otherwise. Rarely: no call of the kubelet waits for one.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from csi.config import DriverConfig
from csi.errors import UnavailableError
from csi.kubeapi import Json, KubeApi
from csi.metrics import DriverMetrics
from csi.pod import PodInfo
from csi.redaction import without_secrets

log = logging.getLogger(__name__)

QUIET_SECONDS = 300.0
"""Between two events for one pod and reason."""
MOST_WAITING = 100
MOST_REMEMBERED = 1000
MOST_MESSAGE = 1024
"""Bytes that the API server takes."""


@dataclass(frozen=True, slots=True)
class PodEvent:
    """Something that a pod's owner should know."""

    pod: PodInfo
    reason: str
    message: str


class PodEvents:
    """Takes note of events at once and writes them in its own time."""

    def __init__(
        self,
        config: DriverConfig,
        metrics: DriverMetrics,
        api: KubeApi | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Write by *api*; without one, log only."""
        self._config = config
        self._metrics = metrics
        self._api = api
        self._clock = clock
        self._waiting: asyncio.Queue[PodEvent] = asyncio.Queue(MOST_WAITING)
        self._told: OrderedDict[tuple[str, str], float] = OrderedDict()

    def tell_nowait(self, pod: PodInfo, reason: str, message: str) -> None:
        """Have an event written, unless the same was told of the pod lately."""
        if not pod.name or not self._is_news(pod, reason):
            return
        log.warning("pod %s/%s: %s: %s", pod.namespace, pod.name, reason, message)
        if self._api is None:
            return
        try:
            self._waiting.put_nowait(PodEvent(pod, reason, message))
        except asyncio.QueueFull:
            self._metrics.events_dropped.inc()

    async def run(self) -> None:
        """Write what waits, for ever; what the API server does not take is dropped."""
        while True:
            event = await self._waiting.get()
            if self._api is not None:
                await self._write(self._api, event)

    async def _write(self, api: KubeApi, event: PodEvent) -> None:
        try:
            await api.create_event(event.pod.namespace, body_of(event, self._config))
        except UnavailableError as error:
            log.warning("no event for pod %s/%s: %s", event.pod.namespace, event.pod.name, error)
            self._metrics.events_dropped.inc()

    def _is_news(self, pod: PodInfo, reason: str) -> bool:
        """Say whether nothing was told of it lately, and remember that something is now."""
        what, now = (pod.uid, reason), self._clock()
        if now - self._told.get(what, float("-inf")) < QUIET_SECONDS:
            return False
        self._told[what] = now
        self._told.move_to_end(what)
        if len(self._told) > MOST_REMEMBERED:
            self._told.popitem(last=False)
        return True


def body_of(event: PodEvent, config: DriverConfig) -> Json:
    """Return the object that the API server takes."""
    pod, now = event.pod, datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    message = without_secrets(event.message).encode()[:MOST_MESSAGE].decode(errors="ignore")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{pod.name[:230]}.{secrets.token_hex(8)}",
            "namespace": pod.namespace,
        },
        "involvedObject": {
            "apiVersion": "v1",
            "kind": "Pod",
            "name": pod.name,
            "namespace": pod.namespace,
            "uid": pod.uid,
        },
        "type": "Warning",
        "reason": event.reason,
        "message": message,
        "source": {"component": config.driver_name, "host": config.node_name},
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
