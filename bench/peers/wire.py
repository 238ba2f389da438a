"""The network itself: the same objects through the same relay, by a client that keeps nothing.

What store, relay and this machine give at most. Like native it is no peer but a limit.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import timedelta

import obstore

from bench.passes import MEMORY, Pass, Watch
from bench.peers import Cache, Mounted, PeerFailedError
from bench.readers import Reading
from bench.results import Figure
from bench.site import Stored
from bench.upload import bucket_store
from bench.wire import Fetch, Fetched, Request, fetch, requests_for
from bench.workloads import Workload

CONNECTIONS = (8, 16, 32, 64, 128)
PART_SIZE = 4 << 20
SIGNED_FOR = timedelta(hours=1)
USED = Figure("connections of the wire")


class Wire:
    """GETs over many connections at once, the bytes dropped."""

    name = "wire"

    def version(self) -> str:
        """Return what its sockets are of."""
        return f"Python {platform.python_version()}"

    def settings(self) -> str:
        """Return how it is run."""
        counts = ", ".join(map(str, CONNECTIONS))
        return (
            f"GET of {PART_SIZE >> 20} MiB at most over {counts} connections, whichever is "
            "fastest in a round; signed and connected before; received into one buffer"
        )

    @contextmanager
    def offered(self, stored: Stored, _scratch: object) -> Iterator[WireOffer]:
        """Nothing needs to be done before."""
        yield WireOffer(stored)


@dataclass(frozen=True, slots=True)
class WireOffer:
    """Objects that can be fetched."""

    stored: Stored

    def mounted(self, cache: Cache) -> AbstractContextManager[Mounted]:
        """Fail: there is nothing to be mounted."""
        raise PeerFailedError(f"shows no files, whatever is kept ({cache})")

    def fetched(self, watch: Watch, workload: Workload) -> Mapping[Figure, float]:
        """Fetch all of *workload* over each number of connections; return the fastest's figures."""
        requests = self._requests(workload)
        passes = {count: self._pass(watch, requests, count) for count in CONNECTIONS}
        used, best = min(passes.items(), key=lambda each: each[1].reading.seconds)
        figures = dict(best.figures(workload.file_count, workload.byte_count))
        del figures[MEMORY]  # of one buffer
        return {**figures, USED: used}

    def _requests(self, workload: Workload) -> Sequence[Request]:
        store = bucket_store(self.stored.url, self.stored.environ)
        urls = obstore.sign(store, "GET", workload.paths(), SIGNED_FOR)
        return [each for url in urls for each in requests_for(url, workload.file_size, PART_SIZE)]

    def _pass(self, watch: Watch, requests: Sequence[Request], connections: int) -> Pass:
        host, _, port = self.stored.gate.s3.address.rpartition(":")
        traffic = watch.gate.traffic()
        job = Fetch((host, int(port)), requests, connections)
        reading = watch.readers.do(fetch, self.stored.directory, [job], watch.seconds)
        done: Fetched = reading.results[0]
        taken = Reading(done.seconds, done.cpu_seconds, reading.results)
        return Pass(taken, done.cpu_seconds, watch.gate.traffic().since(traffic), 0)
