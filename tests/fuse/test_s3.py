"""Mounts of a real S3 server, healthy and not."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bench.upload import upload
from tests.fakes.faultproxy import FaultProxy, HangBeforeHeaders, Reset, Status, Truncate
from tests.fuse.test_versions import errno_of_reading
from tests.node import Node, wait_until
from tests.seaweed import SECRET_KEY, SeaweedServer

CONTENT = {
    "plain": b"hello\n",
    "d/e/deep": b"deep",
    "big": random.Random(5).randbytes(9 << 20),
    "sp ace+%41/ü": b"name",
    "empty": b"",
}


@pytest.fixture
def put(s3_server: SeaweedServer, s3_url: str, tmp_path: Path) -> Path:
    """A directory whose files are in the bucket."""
    for name, content in CONTENT.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    upload(tmp_path, CONTENT, s3_url, s3_server.environ)
    return tmp_path


@pytest.fixture
def s3_node(node: Node, s3_server: SeaweedServer, s3_url: str, put: Path) -> Node:
    """A machine that can reach the server, where the dataset was published."""
    node.environment.update(s3_server.environ)
    node.snapshot(s3_url)
    return node


def test_objects_are_files(s3_node: Node, s3_server: SeaweedServer, s3_url: str) -> None:
    """Objects of an S3 bucket are files of mode 0644 in directories of mode 0755; an ETag is their
    `user.headrace.etag`, and the endpoint is part of their `user.headrace.object`.
    """
    mount = s3_node.mount(s3_url)
    for name, content in CONTENT.items():
        assert (mount / name).read_bytes() == content
        assert (mount / name).stat().st_mode & 0o777 == 0o644
    assert (mount / "d").stat().st_mode & 0o777 == 0o755
    host = s3_server.endpoint.removeprefix("http://")
    assert host in os.getxattr(mount / "plain", "user.headrace.object").decode()
    etag = os.getxattr(mount / "plain", "user.headrace.etag").decode()
    assert etag == "b1946ac92492d2347c6235b4d2611184"


def test_an_object_that_changed(
    s3_node: Node, s3_server: SeaweedServer, s3_url: str, put: Path
) -> None:
    """S3 is asked for the very version by If-Match: an object that was overwritten is ESTALE, even
    with one of the same size.
    """
    mount = s3_node.mount(s3_url)
    (put / "plain").write_bytes(b"HELLO\n")
    upload(put, ["plain"], s3_url, s3_server.environ)
    assert errno_of_reading(mount / "plain") == errno.ESTALE
    assert (mount / "big").read_bytes() == CONTENT["big"]


def test_no_secret_is_left_anywhere(s3_node: Node, s3_url: str) -> None:
    """Credentials are in no command line, no environment, no state file, no log and no cache."""
    mount = s3_node.mount(s3_url)
    assert (mount / "plain").read_bytes() == CONTENT["plain"]
    for pid in {*s3_node.pids_of("vfs.mounting"), *s3_node.pids_of("cachesvc")}:
        for name in ("cmdline", "environ"):
            assert SECRET_KEY.encode() not in Path(f"/proc/{pid}/{name}").read_bytes()
    for path in s3_node.directory.rglob("*"):
        if path.is_file() and not path.is_relative_to(mount):
            assert SECRET_KEY.encode() not in path.read_bytes(), path


def test_each_mount_reads_as_who_mounted_it(
    s3_node: Node, s3_url: str, s3_server: SeaweedServer, tmp_path: Path
) -> None:
    """Each mount fetches with the credentials of who mounted it, though all share a cache
    service.
    """
    repository = tmp_path / "repository"
    s3_node.snapshot(s3_url, "--repo", repository)
    allowed = s3_node.mount(s3_url, name="allowed")
    for name in s3_server.environ:
        s3_node.environment.pop(name)
    s3_node.environment["AWS_ENDPOINT_URL"] = s3_server.endpoint
    options = ("--repo", str(repository), "--storage-option", "anon=true")
    refused = s3_node.mount(s3_url, *options, name="refused")
    assert errno_of_reading(refused / "plain") == errno.EACCES
    assert (allowed / "plain").read_bytes() == b"hello\n"


def test_the_manifest_is_on_its_way_before_there_is_a_worker(
    s3_node: Node, s3_proxy: FaultProxy, s3_server: SeaweedServer, s3_url: str, put: Path
) -> None:
    """It is fetched once, while the first worker starts."""
    s3_node.environment["AWS_ENDPOINT_URL"] = s3_proxy.endpoint
    s3_node.snapshot(s3_url)
    s3_node.mount(s3_url)
    (put / "new").write_bytes(b"new")
    upload(put, ["new"], s3_url, s3_server.environ)
    manifest = f"/snapshots/{s3_node.snapshot(s3_url)}"
    zygotes = s3_node.pids_of("vfs.mounting.zygote")
    for pid in zygotes:
        os.kill(pid, signal.SIGSTOP)
    with ThreadPoolExecutor() as executor:
        mounted = executor.submit(s3_node.mount, s3_url, name="second")
        try:
            wait_until(lambda: s3_proxy.count("GET", manifest))
            assert not mounted.done()
        finally:
            for pid in zygotes:
                os.kill(pid, signal.SIGCONT)
        assert (mounted.result() / "new").read_bytes() == b"new"
    assert s3_proxy.count("GET", manifest) == 1


class Faulty:
    """A mount through a proxy that can be told to fail."""

    def __init__(self, node: Node, proxy: FaultProxy, url: str) -> None:
        node.environment["AWS_ENDPOINT_URL"] = proxy.endpoint
        node.snapshot(url)
        self.proxy = proxy
        self.mount = node.mount(url, "--deadline", "3")


@pytest.fixture
def faulty(s3_node: Node, s3_proxy: FaultProxy, s3_url: str) -> Faulty:
    """A healthy mount; say to its proxy what goes wrong."""
    return Faulty(s3_node, s3_proxy, s3_url)


def test_faults_that_pass(faulty: Faulty) -> None:
    """Answers that fail, break off or throttle are asked again until the deadline: a reader sees a
    pause and the right bytes.
    """
    for fault in (Status(503, "SlowDown"), Status(500), Reset(), Truncate(100)):
        faulty.proxy.inject(fault, part="/big", times=1)
    assert (faulty.mount / "big").read_bytes() == CONTENT["big"]


def test_a_store_that_refuses(faulty: Faulty) -> None:
    """Credentials that the store refuses are EACCES."""
    faulty.proxy.inject(Status(403, "AccessDenied"), part="/plain")
    assert errno_of_reading(faulty.mount / "plain") == errno.EACCES


def test_an_object_that_is_gone(faulty: Faulty) -> None:
    """An object that is gone is ESTALE."""
    faulty.proxy.inject(Status(404, "NoSuchKey"), part="/plain")
    assert errno_of_reading(faulty.mount / "plain") == errno.ESTALE


def test_a_store_that_hangs(faulty: Faulty) -> None:
    """A store that does not answer properly within the deadline (`--deadline`, 60 s) is EIO; names,
    attributes and what is on the node are answered meanwhile, and when the store is back so are its
    files.
    """
    assert (faulty.mount / "d/e/deep").read_bytes() == b"deep"
    faulty.proxy.inject(HangBeforeHeaders(), part="/plain")
    with ThreadPoolExecutor(1) as thread:
        begin = time.monotonic()
        reading = thread.submit(errno_of_reading, faulty.mount / "plain")
        assert (faulty.mount / "d/e/deep").read_bytes() == b"deep"
        assert (faulty.mount / "big").stat().st_size == 9 << 20
        assert not reading.done()
        assert reading.result(timeout=30) == errno.EIO
        assert time.monotonic() - begin < 10
    faulty.proxy.heal()
    assert (faulty.mount / "plain").read_bytes() == b"hello\n"


def test_a_renewal_that_hangs(
    s3_node: Node, s3_proxy: FaultProxy, s3_url: str, tmp_path: Path
) -> None:
    """Looking credentials up again counts as waiting for the store: it ends with the deadline."""
    environment = s3_node.environment
    key, secret = environment.pop("AWS_ACCESS_KEY_ID"), environment.pop("AWS_SECRET_ACCESS_KEY")
    answer = {"Version": 1, "AccessKeyId": key, "SecretAccessKey": secret}
    program, hang = tmp_path / "program", tmp_path / "hang"
    program.write_text(
        f"#!/bin/sh\nwhile [ -e {hang} ]; do sleep 0.1; done\necho '{json.dumps(answer)}'\n"
    )
    program.chmod(0o700)
    config = tmp_path / "config"
    config.write_text(f"[default]\ncredential_process = {program}\n")
    environment |= {"AWS_CONFIG_FILE": str(config), "AWS_ENDPOINT_URL": s3_proxy.endpoint}
    s3_node.snapshot(s3_url)
    mount = s3_node.mount(s3_url, "--deadline", "0.5")
    hang.touch()
    s3_proxy.inject(Status(400, "ExpiredToken"), part="/plain")
    with ThreadPoolExecutor(1) as thread:
        reading = thread.submit(errno_of_reading, mount / "plain")
        try:
            assert reading.result(timeout=12) == errno.EIO
        finally:
            hang.unlink()
