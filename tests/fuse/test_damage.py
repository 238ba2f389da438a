"""What cannot be answered fails alone: the mount lives on."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tests.node import Node


def test_a_damaged_manifest_page(node: Node, source: Path) -> None:
    """A request that fails for any reason is EIO, or what the table says, for itself alone: with a
    page of the manifest damaged, the files of that page are EIO and all others read on.
    """
    for number in range(3000):
        (source / f"{number:04}").touch()
    (source / "0000").write_bytes(b"first")
    node.snapshot(source)
    (manifest,) = (source / ".headrace" / "snapshots").iterdir()
    content = bytearray(manifest.read_bytes())
    content[-20] ^= 1
    manifest.chmod(0o600)
    manifest.write_bytes(content)
    mount = node.mount(source)
    for _ in range(2):
        with pytest.raises(OSError, match="2999") as caught:
            os.stat(mount / "2999")
        assert caught.value.errno == errno.EIO
        assert (mount / "0000").read_bytes() == b"first"
    assert "damaged" in node.log()
