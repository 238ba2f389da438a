"""Runs `bench.latency` before a server, and asks it what it counted."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bench.latency import Shape

STOP_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Traffic:
    """What was asked of a server, and how many bytes it sent."""

    request_count: int = 0
    byte_count: int = 0

    def __add__(self, other: Traffic) -> Traffic:
        """Return both together."""
        return Traffic(self.request_count + other.request_count, self.byte_count + other.byte_count)

    def since(self, before: Traffic) -> Traffic:
        """Return what came to pass after *before*."""
        return Traffic(
            self.request_count - before.request_count, self.byte_count - before.byte_count
        )


@dataclass(frozen=True, slots=True)
class Distant:
    """A server behind a relay."""

    address: str
    process: subprocess.Popen[str]

    @property
    def url(self) -> str:
        """Where its clients find it."""
        return f"http://{self.address}"

    def traffic(self) -> Traffic:
        """Return what was counted so far."""
        counts = json.loads(ask(self.process, "\n"))
        return Traffic(sum(counts["requests"].values()), counts["byte_count"])


@contextmanager
def distant(upstream: str, shape: Shape) -> Iterator[Distant]:
    """Relay to the *upstream* host and port for the length of a block."""
    command = [
        *(sys.executable, "-m", "bench.latency", upstream),
        *("--first-byte-ms", str(shape.first_byte_seconds * 1e3)),
        *("--megabytes-per-second", str(shape.bytes_per_second / 1e6)),
    ]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    with process:
        try:
            yield Distant(f"127.0.0.1:{int(ask(process, ''))}", process)
        finally:
            process.kill()


def ask(process: subprocess.Popen[str], question: str) -> str:
    """Say something to a process that answers with one line."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(question)
    process.stdin.flush()
    return process.stdout.readline()
