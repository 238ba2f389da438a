"""Where the dataset of a side-by-side scenario lies: in an S3 server, seen from near or afar."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.distance import Distant, Traffic, distant
from bench.latency import Shape
from bench.upload import upload
from tests.seaweed import SeaweedServer, seaweed

BUCKET = "bench"
NEAR = Shape()
FAR = Shape(first_byte_seconds=0.030, bytes_per_second=80e6)


@dataclass(frozen=True, slots=True)
class Gate:
    """The server as it is seen over one network; all that is measured goes through here."""

    shape: Shape
    s3: Distant
    filer: Distant
    """The server's own file system protocol, which only its own mount speaks."""
    filer_grpc_port: int

    def traffic(self) -> Traffic:
        """Return what was asked and sent so far."""
        return self.s3.traffic() + self.filer.traffic()


@dataclass(frozen=True, slots=True)
class Stored:
    """A dataset in the bucket, and the files that it was made of."""

    directory: Path
    """The files themselves: what the native file system shows."""
    prefix: str
    server: SeaweedServer
    gate: Gate

    @property
    def url(self) -> str:
        """The dataset as its users name it."""
        return self.server.url(self.prefix)

    @property
    def environ(self) -> Mapping[str, str]:
        """The AWS variables of those who read it."""
        return {**self.server.environ, "AWS_ENDPOINT_URL": self.gate.s3.url}


@contextmanager
def stored(directory: Path, paths: Sequence[str], shape: Shape) -> Iterator[Stored]:
    """Run a server with *paths* below *directory* in its bucket, seen through a gate of *shape*.

    A server of its own for each dataset: none has to cope with what others left.
    """
    with seaweed(BUCKET) as server, gate(server, shape) as entrance:
        upload(directory, paths, server.url(directory.name), server.environ)
        yield Stored(directory, directory.name, server, entrance)


@contextmanager
def gate(server: SeaweedServer, shape: Shape) -> Iterator[Gate]:
    """Run the relays before a server."""
    filer, _, grpc_port = server.filer.rpartition(".")
    with (
        distant(server.endpoint.removeprefix("http://"), shape) as s3,
        distant(filer, shape) as files,
    ):
        yield Gate(shape, s3, files, int(grpc_port))
