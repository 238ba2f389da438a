"""Mounts that live on where somebody has a copy of the mount table: a container, `unshare -m`."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.node import Node, wait_until


@contextmanager
def copied_mount_table() -> Iterator[None]:
    """Keep a copy of all mounts, as they are now, for the length of the block."""
    with subprocess.Popen(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", "echo; exec sleep 60"],
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        try:
            yield
        finally:
            holder.kill()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may copy the mount table")
def test_a_mount_that_lives_on_elsewhere_leaves_the_next_ones_record_alone(
    node: Node, source: Path
) -> None:
    """`headrace list` still shows the mount that took the old one's place."""
    (source / "file").write_bytes(b"content")
    node.snapshot(source)
    mountpoint = node.mount(source)
    with copied_mount_table():
        node.run("umount", "--lazy", mountpoint)
        node.run("mount", source, mountpoint)
    wait_until(lambda: [row["mounted"] for row in node.mounts()] == [True])
    assert (mountpoint / "file").read_bytes() == b"content"
