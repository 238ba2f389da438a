"""The inode record: what goes in comes out, and impossible records are refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vfs.errors import InvalidNameError, ManifestDamagedError
from vfs.manifest.inode import (
    PACKED_BIT,
    PLACE,
    RECORD,
    RECORD_SIZE,
    RUN,
    Extent,
    Form,
    Inode,
    Kind,
    check_name,
    decode_inode,
    encode_directory,
    encode_file,
    encode_symlink,
    packed_entry,
    tag_of,
)

MD5 = "0123456789abcdef" * 2
VERSIONS = st.one_of(
    st.none(),
    st.text(st.characters(codec="utf-8"), max_size=40),
    st.from_regex(r"[0-9a-fA-F]{32}(-[0-9]{1,5})?", fullmatch=True),
    st.integers().map(str),
)


def decoded(entry: bytes, position: int = 9, parent: int = 3, first: int = 0) -> Inode:
    page = bytearray(entry)
    PLACE.pack_into(page, 0, parent, first, RECORD_SIZE)
    return decode_inode(bytes(page), 0, position)


def directory(name: bytes = b"d", child_count: int = 0, subdirectory_count: int = 0) -> bytes:
    return encode_directory(
        name,
        5,
        0o755,
        digest=bytes(range(16)),
        child_count=child_count,
        subdirectory_count=subdirectory_count,
        files_below=4,
        bytes_below=40,
    )


@given(VERSIONS, st.integers(-(1 << 63), (1 << 63) - 1), st.integers(0, (1 << 63) - 1))
def test_a_files_version_comes_back_exactly(version: str | None, mtime_ns: int, size: int) -> None:
    inode = decoded(encode_file(b"f", size, mtime_ns, 0o640, version))
    assert (inode.version, inode.mtime_ns, inode.size) == (version, mtime_ns, size)


@pytest.mark.parametrize(
    ("version", "form"),
    [
        (MD5, Form.MD5),
        (f"{MD5}-12", Form.MULTIPART),
        ("77", Form.MTIME),
        (None, Form.UNVERSIONED),
        (MD5.upper(), Form.TEXT),
        (f"{MD5}-012", Form.TEXT),
        (f"{MD5}-", Form.TEXT),
        (f"{MD5}-+1", Form.TEXT),
        (" ".join(MD5), Form.TEXT),
        ("", Form.TEXT),
    ],
)
def test_common_versions_take_no_room_beyond_the_record(version: str | None, form: Form) -> None:
    inode = decoded(encode_file(b"f", 1, 77, 0o640, version))
    assert inode.form is form
    assert inode.version == version
    assert form is Form.TEXT or inode.payload == b""


@pytest.mark.parametrize("version", [None, MD5, f"{MD5}-3", "text", "77"])
def test_a_hashed_files_version_comes_back_beside_the_digest_of_its_hashes(
    version: str | None,
) -> None:
    inode = decoded(encode_file(b"f", 1, 77, 0o640, version, bytes(range(16))), first=123)
    assert (inode.hashed, inode.first, inode.version) == (True, 123, version)


def test_a_symlink_survives_the_round_trip() -> None:
    inode = decoded(encode_symlink(b"l", b"../a", 5, 0o777))
    assert (inode.kind, inode.target, inode.size, inode.nlink) == (Kind.SYMLINK, b"../a", 4, 1)


def test_a_directory_knows_its_children_and_what_lies_below() -> None:
    inode = decoded(directory(child_count=7, subdirectory_count=2), first=10)
    assert (inode.first_child, inode.child_count, inode.nlink, inode.size) == (10, 7, 4, 0)
    assert (inode.files_below, inode.bytes_below) == (4, 40)


@given(VERSIONS, st.sampled_from([b"", bytes(16)]), st.integers(0, (1 << 32) - 1))
def test_a_packed_file_survives_the_round_trip(
    version: str | None, hashes_digest: bytes, number: int
) -> None:
    entry = encode_file(b"f", 9, 77, 0o640, version, hashes_digest)
    inode = decoded(bytes(packed_entry(entry, RUN.pack(number, 1 << 40))))
    assert inode.extent == Extent(number, 1 << 40, 9)
    assert (inode.name, inode.version, inode.hashed) == (b"f", version, bool(hashes_digest))


@given(VERSIONS, st.sampled_from([b"", bytes(16)]), st.integers(0, 9), st.integers(0, 9))
def test_where_a_file_is_packed_is_no_part_of_its_identity(
    version: str | None, hashes_digest: bytes, number: int, offset: int
) -> None:
    entry = encode_file(b"f", 9, 77, 0o640, version, hashes_digest)
    packed = decoded(bytes(packed_entry(entry, RUN.pack(number, offset))))
    assert packed.identity == decoded(entry).identity


def test_a_file_in_place_has_no_extent() -> None:
    assert decoded(encode_file(b"f", 1, 77, 0o640, None)).extent is None


def test_a_packed_file_without_a_whole_run_is_refused() -> None:
    entry = bytearray(encode_file(b"f", 1, 77, 0o640, None))
    entry[RECORD_SIZE - 1] |= PACKED_BIT
    with pytest.raises(ManifestDamagedError, match="torn"):
        decoded(bytes(entry))


@pytest.mark.parametrize("name", [b"", b".", b"..", b"a/b", b"/", b"a\0", b"\0"], ids=repr)
def test_a_record_with_a_name_that_could_lead_elsewhere_is_refused(name: bytes) -> None:
    with pytest.raises(ManifestDamagedError):
        decoded(encode_file(name, 1, 77, 0o640, None))
    with pytest.raises(InvalidNameError):
        check_name(name)


def test_a_name_of_more_than_255_bytes_is_refused() -> None:
    check_name(b"x" * 255)
    with pytest.raises(InvalidNameError):
        check_name(b"x" * 256)


@pytest.mark.parametrize("parent", [0, 9, 10, 1 << 63])
def test_a_record_whose_parent_is_not_before_it_is_refused(parent: int) -> None:
    with pytest.raises(ManifestDamagedError, match="parent"):
        decoded(encode_file(b"f", 1, 77, 0o640, None), position=9, parent=parent)


@pytest.mark.parametrize("first", [0, 3, 9])
def test_a_directory_whose_children_are_not_after_it_is_refused(first: int) -> None:
    with pytest.raises(ManifestDamagedError, match="children"):
        decoded(directory(child_count=1), position=9, first=first)


def test_more_subdirectories_than_children_are_refused() -> None:
    with pytest.raises(ManifestDamagedError, match="children"):
        decoded(directory(child_count=1, subdirectory_count=2), first=10)


@pytest.mark.parametrize("tag", [0, 4, 15, tag_of(Kind.FILE) | 0x50, tag_of(Kind.DIRECTORY) | 0x80])
def test_an_unknown_kind_is_refused(tag: int) -> None:
    entry = bytearray(encode_file(b"f", 1, 77, 0o640, None))
    entry[RECORD_SIZE - 1] = tag
    with pytest.raises(ManifestDamagedError, match="malformed"):
        decoded(bytes(entry))


def test_a_name_outside_the_page_is_refused() -> None:
    with pytest.raises(ManifestDamagedError, match="malformed"):
        decoded(encode_file(b"name", 1, 77, 0o640, None)[:-1])


def test_a_root_that_is_a_file_is_refused() -> None:
    with pytest.raises(ManifestDamagedError):
        decoded(encode_file(b"", 1, 77, 0o640, None), position=1, parent=1)


def test_a_root_that_has_a_name_is_refused() -> None:
    with pytest.raises(ManifestDamagedError):
        decoded(directory(b"d"), position=1, parent=1)


@given(st.binary(min_size=RECORD_SIZE, max_size=200), st.integers(1, 10))
def test_any_bytes_are_an_inode_or_refused(page: bytes, position: int) -> None:
    """Nothing but ManifestDamagedError comes out, whatever the record, and from lazy fields too."""
    try:
        inode = decode_inode(page, 0, position)
        _ = inode.identity, inode.version, inode.extent, inode.target, inode.bytes_below
    except ManifestDamagedError:
        return
    assert RECORD.size == 64
    assert b"/" not in inode.name


def test_the_digest_covers_content_and_not_name_mode_or_time() -> None:
    one = decoded(encode_file(b"a", 1, 77, 0o640, MD5))
    same = decoded(encode_file(b"b", 1, 78, 0o600, MD5), position=12)
    other = decoded(encode_file(b"a", 2, 77, 0o640, MD5))
    assert one.digest == same.digest != other.digest
    assert one.identity != same.identity


def test_the_digest_of_a_file_versioned_by_its_mtime_covers_the_mtime() -> None:
    one = decoded(encode_file(b"a", 1, 77, 0o640, "77"))
    other = decoded(encode_file(b"a", 1, 78, 0o640, "78"))
    assert one.digest != other.digest
