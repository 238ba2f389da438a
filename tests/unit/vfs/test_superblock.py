"""The superblock: what goes in comes out, and what is none is refused by the right name."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vfs.errors import ManifestDamagedError, ManifestForeignError, ManifestNewerError
from vfs.manifest.superblock import (
    FORMAT_VERSION,
    PREFIX,
    PREFIX_SIZE,
    Superblock,
    TableRoot,
    decode_superblock,
    encode_superblock,
    size_in_prefix,
    snapshot_id_of,
    superblock_size,
)

TABLE = TableRoot(3, 300, bytes(range(16)))
BLOCK = Superblock(
    source="s3://host/bucket",
    message="nightly",
    created_ns=5,
    parent="ab" * 20,
    chunk_size=1 << 22,
    hashed=True,
    file_count=1,
    directory_count=1,
    symlink_count=1,
    total_bytes=10,
    manifest_size=999,
    root_digest=bytes(range(16)),
    inodes=TABLE,
    hashes=TABLE,
    objects=TABLE,
)


@given(
    st.text(st.characters(codec="utf-8"), max_size=50),
    st.text(st.characters(codec="utf-8"), max_size=50),
    st.one_of(st.none(), st.binary(min_size=20, max_size=20).filter(any).map(bytes.hex)),
    st.booleans(),
    st.integers(-(1 << 63), (1 << 63) - 1),
)
def test_a_superblock_survives_the_round_trip(
    source: str, message: str, parent: str | None, hashed: bool, created_ns: int
) -> None:
    block = replace(
        BLOCK, source=source, message=message, parent=parent, hashed=hashed, created_ns=created_ns
    )
    data = encode_superblock(block)
    assert len(data) == superblock_size(source, message) == size_in_prefix(data[:PREFIX_SIZE])
    assert decode_superblock(data, snapshot_id_of(data)) == block


def test_a_source_that_is_not_utf8_survives_the_round_trip() -> None:
    block = replace(BLOCK, source="file:///caf\udce9")
    assert decode_superblock(encode_superblock(block), None) == block


def test_other_files_are_refused_as_foreign() -> None:
    with pytest.raises(ManifestForeignError, match="not a headrace manifest"):
        size_in_prefix(b"PK\3\4" + bytes(60))


def test_a_file_too_short_is_refused_as_foreign() -> None:
    with pytest.raises(ManifestForeignError, match="too short"):
        size_in_prefix(b"headrace")


def test_another_snapshot_is_refused_by_its_name() -> None:
    with pytest.raises(ManifestForeignError, match="not " + "0" * 40):
        decode_superblock(encode_superblock(BLOCK), "0" * 40)


def test_a_newer_format_is_refused_with_advice_to_upgrade(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("vfs.manifest.superblock.FORMAT_VERSION", FORMAT_VERSION + 1)
        data = encode_superblock(BLOCK)
    with pytest.raises(ManifestNewerError, match="upgrade"):
        decode_superblock(data, None)


def test_only_a_snapshot_with_packs_is_written_in_the_format_that_has_them() -> None:
    """What an older headrace can read, it can still read."""
    unpacked = replace(BLOCK, objects=TableRoot(0, 300, bytes(16)))
    versions = [PREFIX.unpack_from(encode_superblock(block))[2] for block in (unpacked, BLOCK)]
    assert versions == [1, 2]
    assert decode_superblock(encode_superblock(unpacked), None) == unpacked


def test_a_damaged_version_field_is_damage_and_not_a_newer_format() -> None:
    data = bytearray(encode_superblock(BLOCK))
    data[PREFIX.size - 20] ^= 2
    with pytest.raises(ManifestDamagedError):
        decode_superblock(bytes(data), None)


def test_counts_that_do_not_add_up_are_refused() -> None:
    data = encode_superblock(replace(BLOCK, file_count=2))
    with pytest.raises(ManifestDamagedError, match="contradicts"):
        decode_superblock(data, None)
