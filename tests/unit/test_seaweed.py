"""The test server leaves nothing behind."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.seaweed import remove_sockets, seaweed

SERVE_FOR_EVER = """
import time
from tests.seaweed import seaweed
with seaweed() as server:
    print(server.pid, flush=True)
    time.sleep(600)
"""


def is_gone(descriptor: int, seconds: float = 20.0) -> bool:
    """Tell whether the process behind a pidfd ends within the time."""
    return bool(select.select([descriptor], [], [], seconds)[0])


def test_a_failing_test_leaves_no_server_and_no_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    descriptors: list[int] = []

    def fail() -> None:
        with seaweed() as server:
            descriptors.append(os.pidfd_open(server.pid))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert is_gone(descriptors[0])
    os.close(descriptors[0])
    assert list(tmp_path.iterdir()) == []


def test_a_killed_test_run_takes_its_server_along(tmp_path: Path) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", SERVE_FOR_EVER],
        stdout=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert owner.stdout is not None
    with owner.stdout as output:
        server = int(output.readline())
    descriptor, ports = os.pidfd_open(server), ports_of(server)
    try:
        owner.send_signal(signal.SIGKILL)
        owner.wait()
        assert is_gone(descriptor)
    finally:
        os.close(descriptor)
        remove_sockets(ports)
    assert len(ports) > 1
    assert not [left for port in ports for left in Path("/tmp").glob(f"*-{port}.sock")]


def ports_of(server: int) -> list[int]:
    """Return the ports that a server was told to listen on."""
    words = Path(f"/proc/{server}/cmdline").read_text()
    return [int(port) for port in re.findall(r"port(?:\.grpc)?=(\d+)", words)]
