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
def copied_mount_table() -> Iterator[int]:
    """Keep a copy of all mounts, as they are now, in a process whose id is yielded."""
    with subprocess.Popen(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", "echo; exec sleep 60"],
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        try:
            yield holder.pid
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


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may copy the mount table")
def test_umount_says_who_still_shows_the_mount_and_waits_for_nobody(
    node: Node, source: Path
) -> None:
    """`umount` does not wait for copies of the mount in other mount namespaces: it names a process
    that has one, and for that the mount is served on.
    """
    (source / "file").write_bytes(b"content")
    node.snapshot(source)
    mountpoint = node.mount(source)
    with copied_mount_table() as holder:
        done = node.run("umount", mountpoint)
        assert f"served on for process {holder}" in done.stderr
        assert not mountpoint.is_mount()
        assert (Path(f"/proc/{holder}/root") / mountpoint.relative_to("/") / "file").read_bytes()
        assert node.processes()["worker"]
    wait_until(lambda: not node.processes()["worker"])
