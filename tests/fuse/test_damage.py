"""What cannot be answered fails alone: the mount lives on."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tests.node import Node


def alter_manifest(source: Path, place: int) -> None:
    """Flip a bit of the published manifest; the second time it is right again."""
    (manifest,) = (source / ".headrace" / "snapshots").iterdir()
    content = bytearray(manifest.read_bytes())
    content[place] ^= 1
    manifest.chmod(0o600)
    manifest.write_bytes(content)


def test_a_damaged_manifest_page(node: Node, source: Path) -> None:
    """A request that fails for any reason is EIO, or what the table says, for itself alone: with a
    page of the manifest damaged, the files of that page are EIO and all others read on.
    """
    for number in range(3000):
        (source / f"{number:04}").touch()
    (source / "0000").write_bytes(b"first")
    node.snapshot(source)
    alter_manifest(source, -20)
    mount = node.mount(source)
    for _ in range(2):
        with pytest.raises(OSError, match="2999") as caught:
            os.stat(mount / "2999")
        assert caught.value.errno == errno.EIO
        assert (mount / "0000").read_bytes() == b"first"
    assert "damaged" in node.log()


def test_a_manifest_that_was_mended(node: Node, source: Path) -> None:
    """A manifest that came damaged is fetched anew by the next who needs what is damaged: when the
    object is right again so are its mounts, and nothing need be restarted.
    """
    for number in range(3000):
        (source / f"{number:04}").touch()
    node.snapshot(source)
    alter_manifest(source, -20)
    mount = node.mount(source)
    with pytest.raises(OSError, match="2999"):
        os.stat(mount / "2999")
    processes = node.processes()
    alter_manifest(source, -20)
    assert (mount / "2999").read_bytes() == b""
    assert node.processes() == processes


@pytest.mark.parametrize("place", [0, 10, 100])
def test_a_superblock_that_was_mended(node: Node, source: Path, place: int) -> None:
    """What could not be mounted can be, with the same cache service."""
    (source / "file").write_bytes(b"content")
    node.snapshot(source)
    other = node.directory / "other"
    other.mkdir()
    keeper = node.mount(other, name="keeper")
    service = node.processes()["cachesvc"]
    alter_manifest(source, place)
    mountpoint = node.directory / "mnt"
    mountpoint.mkdir()
    assert "manifest" in node.run("mount", source, mountpoint, code=1).stderr
    alter_manifest(source, place)
    node.run("mount", source, mountpoint)
    assert (mountpoint / "file").read_bytes() == b"content"
    assert node.processes()["cachesvc"] == service
    node.umount(keeper)
