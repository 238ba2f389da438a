"""What the driver counts of itself, under the names and with the help texts that operators see."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info

RPC_BUCKETS = (0.001, 0.005, 0.02, 0.1, 0.25, 0.5, 1, 2, 5, 15, 60, 120)
"""Around what is promised: from memory, a warm publish, a cold one, kubelet's patience."""


class DriverMetrics:
    """The driver's own metrics, registered once. Safe to use from any thread."""

    def __init__(self, registry: CollectorRegistry, driver_name: str, version: str) -> None:
        """Begin at zero, in *registry*."""
        self._rpcs = Histogram(
            "headrace_csi_rpc_seconds",
            "How long calls took, by method and code.",
            ("method", "code"),
            buckets=RPC_BUCKETS,
            registry=registry,
        )
        self.mounts = Gauge(
            "headrace_csi_mounts",
            "Source mounts on this node.",
            registry=registry,
        )
        self.references = Gauge(
            "headrace_csi_references",
            "Targets bound to source mounts.",
            registry=registry,
        )
        self.mounter_connected = Gauge(
            "headrace_csi_mounter_connected",
            "1 while the mounter is there.",
            registry=registry,
        )
        self.registered = Gauge(
            "headrace_csi_registered",
            "1 while the kubelet knows the driver.",
            registry=registry,
        )
        self.orphans = Counter(
            "headrace_csi_orphans_cleaned",
            "What earlier lives of the driver left behind and this one removed, by kind.",
            ("kind",),
            registry=registry,
        )
        self.events_dropped = Counter(
            "headrace_csi_events_dropped",
            "Events about pods that were not written: too many waited, or the API refused.",
            registry=registry,
        )
        build = Info("headrace_csi_build", "Which driver this is.", registry=registry)
        build.info({"driver": driver_name, "version": version})

    def rpc(self, method: str, code: str, seconds: float) -> None:
        """Count one call."""
        self._rpcs.labels(method, code).observe(seconds)
