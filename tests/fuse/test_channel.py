"""A worker whose connection is a socket, so that the test can say what no kernel says."""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cachesvc.config import CacheConfig
from cachesvc.objectstore.origin import parse_origin
from tests.node import Node
from vfs.mounting import wire
from vfs.mounting.record import MountRecord
from vfs.mounting.spec import MountSpec
from vfs.serving import protocol
from vfs.serving.ino import ROOT_INO
from vfs.serving.protocol import IN_HEADER, OUT_HEADER, InitFlag, Opcode
from vfs.snapshots.dataset import DatasetRequest

REQUEST_COUNT = 10_000
ANSWER_SECONDS = 30
SEED = 20_261_122


def message(opcode: int, body: bytes, *, unique: int, node: int = ROOT_INO) -> bytes:
    length = IN_HEADER.size + len(body)
    return IN_HEADER.pack(length, opcode, unique, node, 0, 0, 0, 0, 0) + body


def init_message() -> bytes:
    flags = int(protocol.WANTED_FLAGS | InitFlag.INIT_EXT)
    body = protocol.INIT_IN.pack(7, 44, 131072, flags & 0xFFFFFFFF, flags >> 32)
    return message(Opcode.INIT, body, unique=2)


@contextmanager
def worker_on_a_socket(
    node: Node, source: Path
) -> Iterator[tuple[subprocess.Popen[bytes], socket.socket]]:
    """Give a real worker that serves *source*, and the kernel's end of its connection."""
    snapshot_id = node.snapshot(source)
    repository = source / ".headrace"
    origin = parse_origin(str(source), {}, {})
    spec = MountSpec(
        key="mount-of-the-test",
        mountpoint=node.directory / "nowhere",
        request=DatasetRequest(str(source), None, {}),
        source=origin,
        repository=parse_origin(str(repository), {}, {}),
        ref="main",
        snapshot_id=snapshot_id,
        manifest_size=(repository / "snapshots" / snapshot_id).stat().st_size,
        cache=CacheConfig(node.cache),
        uid=0,
        gid=0,
    )
    state = node.directory / "run" / "mounts" / spec.key
    state.mkdir(parents=True)
    kernel, connection = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    supervisor, born_with = wire.pair()
    with kernel, connection, supervisor, born_with:
        kernel.settimeout(ANSWER_SECONDS)
        supervisor.settimeout(ANSWER_SECONDS)
        connection.setblocking(False)
        handed_over = (connection.fileno(), born_with.fileno())
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.fakes.socket_worker", *map(str, handed_over)],
            stdin=subprocess.PIPE,
            pass_fds=handed_over,
            env=node.environment,
        )
        with process:
            try:
                assert process.stdin is not None
                process.stdin.write(MountRecord(spec, init_message(), 0).to_json().encode())
                process.stdin.close()
                registration = wire.receive(supervisor)
                assert registration is not None
                registration.close()
                assert registration.kind == "register"
                yield process, kernel
            finally:
                process.kill()
                node.run("cache", "stop")
                shutil.rmtree(state)


def answer_to(kernel: socket.socket, request: bytes, unique: int) -> bytes:
    """Send a request and return its answer, whatever is answered to others before."""
    kernel.send(request)
    while True:
        reply = kernel.recv(1 << 20)
        if OUT_HEADER.unpack_from(reply)[2] == unique:
            return reply


def drain(kernel: socket.socket) -> None:
    """Take what was answered so far."""
    kernel.setblocking(False)
    try:
        while kernel.recv(1 << 20):
            continue
    except BlockingIOError:
        kernel.settimeout(ANSWER_SECONDS)


def malformed(chance: random.Random) -> bytes:
    """Make a request with a random opcode, and a body that is random, cut, or of a wrong length."""
    opcode = chance.choice([*Opcode, chance.randrange(1 << 16)])
    body = chance.randbytes(chance.choice([0, 1, 7, 8, 15, 16, 39, 40, 41, 200, 4000]))
    node = chance.choice([ROOT_INO, 0, 2, chance.randrange(1 << 64)])
    whole = message(opcode, body, unique=chance.randrange(1 << 64), node=node)
    match chance.randrange(4):
        case 0:
            return whole[: chance.randrange(1, len(whole) + 1)]
        case 1:
            return chance.randbytes(chance.randrange(1, 300))
        case _:
            return whole


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A source with one file."""
    directory = tmp_path / "source"
    directory.mkdir()
    (directory / "file").write_bytes(os.urandom(1000))
    return directory


def test_requests_of_any_kind_are_answered_or_dropped(node: Node, source: Path) -> None:
    """Whatever is written into a worker's connection, it goes on answering what is right."""
    chance = random.Random(SEED)
    with worker_on_a_socket(node, source) as (process, kernel):
        for number in range(REQUEST_COUNT):
            kernel.send(malformed(chance))
            if number % 50 == 0:
                drain(kernel)
        getattr_root = message(Opcode.GETATTR, bytes(16), unique=4)
        reply = answer_to(kernel, getattr_root, 4)
        assert OUT_HEADER.unpack_from(reply)[1] == 0
        assert process.poll() is None


@pytest.mark.parametrize(
    ("opcode", "body"),
    [
        (Opcode.LOOKUP, b"no end"),
        (Opcode.GETATTR, bytes(15)),
        (Opcode.READ, bytes(39)),
        (Opcode.READDIRPLUS, bytes(10)),
        (Opcode.GETXATTR, bytes(8) + b"no end"),
        (Opcode.LISTXATTR, bytes(7)),
    ],
)
def test_a_body_that_is_too_short_is_answered_with_an_error(
    node: Node, source: Path, opcode: Opcode, body: bytes
) -> None:
    """A request that is cut short is refused, and nothing is read past its end."""
    with worker_on_a_socket(node, source) as (_, kernel):
        reply = answer_to(kernel, message(opcode, body, unique=6), 6)
        assert OUT_HEADER.unpack_from(reply)[1] < 0
