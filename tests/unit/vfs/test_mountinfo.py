from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from vfs.mounting.mountinfo import mount_table, parse_mountinfo

LINE = (
    rb"98 26 0:51 /a\040part /mnt/a\040b\134c ro,nosuid,nodev,relatime shared:1 master:2 - "
    rb"fuse.headrace headrace:s3://h/b\040c ro,user_id=0"
)


def test_a_line_is_decoded_with_its_escapes_and_optional_fields() -> None:
    (info,) = parse_mountinfo(LINE)
    assert info.mountpoint == Path("/mnt/a b\\c")
    assert (info.major, info.minor) == (0, 51)
    assert (info.filesystem, info.source) == ("fuse.headrace", "headrace:s3://h/b c")
    assert (info.mount_id, info.root) == (98, "/a part")
    assert info.options == {"ro", "nosuid", "nodev", "relatime"}


@given(st.binary(max_size=300))
def test_lines_of_an_unknown_shape_are_left_out(text: bytes) -> None:
    parse_mountinfo(text + b"\n" + LINE)


def test_this_machines_own_table_has_a_root() -> None:
    assert any(info.mountpoint == Path("/") for info in mount_table())
