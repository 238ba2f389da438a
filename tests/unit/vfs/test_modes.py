"""Permission bits as a mount shows them."""

from __future__ import annotations

import pytest

from tests.fakes.manifests import Directory, File, Node, Symlink, asked, manifest_of, walk
from vfs.serving.modes import Modes

NODES: dict[bytes, Node] = {
    b"file": File(mode=0o640),
    b"program": File(mode=0o4750),
    b"dir": Directory(mode=0o700),
    b"link": Symlink(b"file", mode=0o777),
}


@pytest.mark.parametrize(
    ("modes", "shown"),
    [
        (Modes(), {b"file": 0o640, b"program": 0o4750, b"dir": 0o700, b"link": 0o777}),
        (
            Modes(is_open=True),
            {b"file": 0o644, b"program": 0o4754, b"dir": 0o755, b"link": 0o777},
        ),
        (Modes(0o440), {b"file": 0o440, b"program": 0o440, b"dir": 0o550, b"link": 0o777}),
        (
            Modes(0o4400, is_open=True),
            {b"file": 0o400, b"program": 0o400, b"dir": 0o500, b"link": 0o777},
        ),
    ],
    ids=["as published", "open", "chosen", "chosen wins over open"],
)
def test_modes(modes: Modes, shown: dict[bytes, int]) -> None:
    inodes = asked(manifest_of(NODES), walk)
    assert {name: modes.shown(inodes[name].kind, inodes[name].mode) for name in NODES} == shown
