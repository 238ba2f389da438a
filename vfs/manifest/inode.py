"""The inode record: 64 bytes, then its name and payload in the page's heap. Pure.

Knows how one inode is written and read, and what makes a record impossible; not how records are
grouped, compressed or found. `docs/manifest-format.md` has the layout as a table.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from enum import IntEnum
from itertools import product
from typing import Final, NamedTuple

from vfs.errors import InvalidNameError, ManifestDamagedError
from vfs.manifest.page import DIGEST_SIZE, digest_of

RECORD: Final = struct.Struct("<QQIIqQ16sIHBB")
"""parent, first, name offset, payload size, mtime, size, slot, detail, mode, name size, tag."""
RECORD_SIZE: Final = RECORD.size
PLACE: Final = struct.Struct("<QQI")
"""The fields that depend on where an inode comes to lie: parent, first, name offset."""
RUN: Final = struct.Struct("<IQ")
"""Where a packed file begins: object number, offset."""
TOTALS: Final = struct.Struct("<QQ")
_NAME: Final = struct.Struct("<I42xB")
_NAME_AT: Final = 16
_TALE: Final = struct.Struct("<BQqI")
_PAYLOAD_SIZE: Final = struct.Struct("<I")
_PAYLOAD_SIZE_AT: Final = 20
_TAG_AT: Final = RECORD_SIZE - 1

ROOT_POSITION: Final = 1
NAME_SIZE_LIMIT: Final = 255
TARGET_SIZE_LIMIT: Final = 4095
SIZE_LIMIT: Final = 1 << 63
MODE_MASK: Final = 0o7777
NO_SLOT: Final = bytes(16)
HASHED_BIT: Final = 0x80
PACKED_BIT: Final = 0x08


class Kind(IntEnum):
    """What an inode is."""

    FILE = 1
    DIRECTORY = 2
    SYMLINK = 3


class Form(IntEnum):
    """How a file's record says which version of the source's object it stands for."""

    UNVERSIONED = 0  # any version
    MTIME = 1  # the version that is its mtime in decimal nanoseconds
    MD5 = 2  # the version that is the 32 hexadecimal digits in the slot
    MULTIPART = 3  # likewise, followed by "-" and the part count
    TEXT = 4  # the version that is spelt out in the payload


class Extent(NamedTuple):
    """A run of bytes of the object that has `number` in the object table."""

    number: int
    offset: int
    length: int


class Inode(NamedTuple):
    """One file, directory or symlink of a snapshot; `position` is its number.

    `mode` is its permission bits, `size` is 0 for directories. `first_child` and `child_count` say
    where a directory's children lie. What most requests never ask for is decoded when it is: see
    the properties. `form`, `detail`, `slot`, `first` and `payload` are the record's own fields;
    `run` says where a packed file begins and is empty for all others.

    A NamedTuple because listing a directory makes thousands: a frozen dataclass with slots takes
    1.36 us to make, this takes 0.38.
    """

    position: int
    parent: int
    name: bytes
    kind: Kind
    mode: int
    size: int
    mtime_ns: int
    nlink: int
    first_child: int
    child_count: int
    form: Form
    hashed: bool
    first: int
    detail: int
    slot: bytes
    payload: bytes
    run: bytes

    @property
    def digest(self) -> bytes:
        """What the inode contains, in 16 bytes; its own name, mode and mtime left out.

        A directory's digest covers all that lies below it with names, modes and mtimes. A packed
        file has the digest that it had in place: packing changes nothing that a reader can see.
        """
        if self.kind is Kind.DIRECTORY:
            return self.slot
        version_mtime = self.mtime_ns if self.form is Form.MTIME else 0
        tag = tag_of(self.kind, self.form, hashed=self.hashed)
        tale = _TALE.pack(tag, self.size, version_mtime, self.detail)
        return digest_of(tale + self.slot + self.payload)

    @property
    def identity(self) -> tuple[Kind, int, int, bytes]:
        """All that a reader can see of the inode but its name and number: equal means unchanged."""
        return self.kind, self.mode, self.mtime_ns, self.digest

    @property
    def version(self) -> str | None:
        """The version of the source's object, as its store calls it; None when any will do.

        A packed file is a copy of that version.
        """
        match self.form:
            case Form.MTIME:
                return str(self.mtime_ns)
            case Form.MD5:
                return self.slot.hex()
            case Form.MULTIPART:
                return f"{self.slot.hex()}-{self.detail}"
            case Form.TEXT:
                return _decode_text(self._content, self.position)
            case _:
                return None

    @property
    def extent(self) -> Extent | None:
        """Where a packed file lies in the object table's objects; None for an object in place."""
        if not self.run:
            return None
        number, offset = RUN.unpack(self.run)
        return Extent(number, offset, self.size)

    @property
    def target(self) -> bytes:
        """Where a symlink points."""
        return self.payload

    @property
    def files_below(self) -> int:
        """How many files lie anywhere below a directory."""
        return self._totals[0]

    @property
    def bytes_below(self) -> int:
        """The sum of the sizes of all files below a directory."""
        return self._totals[1]

    @property
    def subdirectory_count(self) -> int:
        """How many of a directory's children are directories."""
        return self.detail

    @property
    def _totals(self) -> tuple[int, int]:
        if self.kind is not Kind.DIRECTORY:
            return 0, 0
        files, size = TOTALS.unpack(self.payload)
        return files, size

    @property
    def _content(self) -> bytes:
        """The payload without the digest of the chunk hashes that precedes it."""
        return self.payload[DIGEST_SIZE:] if self.hashed else self.payload


def tag_of(kind: Kind, form: Form = Form.UNVERSIONED, *, hashed: bool = False) -> int:
    """Return the byte that says what a record is."""
    return kind.value | form << 4 | (HASHED_BIT if hashed else 0)


DIRECTORY_TAG: Final = tag_of(Kind.DIRECTORY)


def check_name(name: bytes) -> None:
    """Raise InvalidNameError unless *name* can be one component of a path."""
    if reason := _fault_of(name):
        raise InvalidNameError(f"{name!r} cannot be a file name: {reason}")


def _fault_of(name: bytes) -> str | None:
    if not name or name in (b".", b".."):
        return "it is empty, '.' or '..'"
    if b"/" in name or b"\0" in name:
        return "it holds '/' or NUL"
    if len(name) > NAME_SIZE_LIMIT:
        return f"it is longer than {NAME_SIZE_LIMIT} bytes"
    return None


# Encoding: an entry is a record whose place is still zero, then the name, then the payload.


def encode_file(  # noqa: PLR0917 - positional for speed: one call a file
    name: bytes,
    size: int,
    mtime_ns: int,
    mode: int,
    version: str | None,
    hashes_digest: bytes = b"",
) -> bytes:
    """Return the entry of a file that is one object in place."""
    form, slot, detail, text = _shorten(version, mtime_ns)
    payload = hashes_digest + text
    tag = 1 | form << 4 | (HASHED_BIT if hashes_digest else 0)
    return (
        RECORD.pack(0, 0, 0, len(payload), mtime_ns, size, slot, detail, mode, len(name), tag)
        + name
        + payload
    )


def packed_entry(entry: bytes | bytearray, run: bytes) -> bytearray:
    """Return the *entry* of a file in place as that of a copy of it, which begins at *run*."""
    changed = bytearray(entry) + run
    payload_size, *_ = _PAYLOAD_SIZE.unpack_from(entry, _PAYLOAD_SIZE_AT)
    _PAYLOAD_SIZE.pack_into(changed, _PAYLOAD_SIZE_AT, payload_size + RUN.size)
    changed[_TAG_AT] |= PACKED_BIT
    return changed


def encode_symlink(name: bytes, target: bytes, mtime_ns: int, mode: int) -> bytes:
    """Return the entry of a symlink."""
    tag = tag_of(Kind.SYMLINK)
    size = len(target)
    fixed = RECORD.pack(0, 0, 0, size, mtime_ns, size, NO_SLOT, 0, mode, len(name), tag)
    return fixed + name + target


def encode_directory(
    name: bytes,
    mtime_ns: int,
    mode: int,
    *,
    digest: bytes,
    child_count: int,
    subdirectory_count: int,
    files_below: int,
    bytes_below: int,
) -> bytes:
    """Return the entry of a directory whose children are all known."""
    payload = TOTALS.pack(files_below, bytes_below)
    fixed = RECORD.pack(
        *(0, 0, 0, len(payload), mtime_ns, child_count),
        *(digest, subdirectory_count, mode, len(name), tag_of(Kind.DIRECTORY)),
    )
    return fixed + name + payload


def _shorten(version: str | None, mtime_ns: int) -> tuple[int, bytes, int, bytes]:
    """Return form, slot, detail and payload: the fewest bytes that give *version* back exactly."""
    if version is None:
        return Form.UNVERSIONED, NO_SLOT, 0, b""
    if len(version) >= 32 and (packed := _pack_md5(version)):
        return packed
    if version == str(mtime_ns):
        return Form.MTIME, NO_SLOT, 0, b""
    return Form.TEXT, NO_SLOT, 0, version.encode("utf-8", "surrogateescape")


def _pack_md5(version: str) -> tuple[int, bytes, int, bytes] | None:
    digits, dash, parts = version.partition("-")
    try:
        slot = bytes.fromhex(digits)
        count = int(parts) if dash else 0
    except ValueError:
        return None
    if len(slot) != 16 or slot.hex() != digits or not 0 <= count < 1 << 32:
        return None
    if not dash:
        return Form.MD5, slot, 0, b""
    return (Form.MULTIPART, slot, count, b"") if str(count) == parts else None


# Decoding: nothing in a record is believed before it was looked at.


def _known_tags() -> list[tuple[Kind, Form, bool, bool] | None]:
    """Return what each tag says: kind, form, whether hashed, and whether packed."""
    table: list[tuple[Kind, Form, bool, bool] | None] = [None] * 256
    for form, hashed in product(Form, (False, True)):
        tag = tag_of(Kind.FILE, form, hashed=hashed)
        table[tag] = (Kind.FILE, form, hashed, False)
        table[tag | PACKED_BIT] = (Kind.FILE, form, hashed, True)
    for kind in (Kind.DIRECTORY, Kind.SYMLINK):
        table[tag_of(kind)] = (kind, Form.UNVERSIONED, False, False)
    return table


TAGS: Final = _known_tags()
NO_NAMES: Final = frozenset((b"", b".", b".."))
DIRECTORY: Final = Kind.DIRECTORY
SYMLINK: Final = Kind.SYMLINK
_new_inode: Final[Callable[[type[Inode], tuple[object, ...]], Inode]] = tuple.__new__
"""Skips the Python frame of `Inode.__new__`: 0.12 us where that takes 0.24."""


def name_at(page: bytes, index: int) -> bytes:
    """Return only the name of the record number *index* of a page."""
    start, size = _NAME.unpack_from(page, index * RECORD_SIZE + _NAME_AT)
    return page[start : start + size]


def decode_inode(page: bytes, index: int, position: int) -> Inode:
    """Return the inode at *position*, which is the record number *index* of its *page*.

    Raises ManifestDamagedError for a record that no writer makes.
    """
    parent, first, start, payload_size, mtime_ns, size, slot, detail, mode, name_size, tag = (
        RECORD.unpack_from(page, index * RECORD_SIZE)
    )
    name_stop = start + name_size
    stop = name_stop + payload_size
    known = TAGS[tag]
    if known is None or stop > len(page) or mode > MODE_MASK or size >= SIZE_LIMIT:
        raise _damaged(position, "is malformed")
    kind, form, hashed, packed = known
    name = page[start:name_stop]
    if parent >= position or parent == 0 or b"/" in name or b"\0" in name or name in NO_NAMES:
        _check_root(position, parent, name, kind)
    nlink, first_child, child_count = 1, 0, 0
    if kind is DIRECTORY:
        if (size and first <= position) or detail > size or payload_size != TOTALS.size:
            raise _damaged(position, "has impossible children")
        nlink, first_child, child_count, size = 2 + detail, first, size, 0
    payload, run = page[name_stop:stop], b""
    if packed:
        payload, run = _parted(payload, position)
    if kind is SYMLINK:
        _check_target(position, size, payload)
    fields = (
        position, parent, name, kind, mode, size, mtime_ns, nlink, first_child, child_count,
        form, hashed, first, detail, slot, payload, run,
    )  # fmt: skip
    return _new_inode(Inode, fields)


def _parted(payload: bytes, position: int) -> tuple[bytes, bytes]:
    """Return a packed file's payload without its run, and the run."""
    if len(payload) < RUN.size:
        raise _damaged(position, "has a torn run")
    return payload[: -RUN.size], payload[-RUN.size :]


def _check_root(position: int, parent: int, name: bytes, kind: Kind) -> None:
    """Allow what no other inode may be: nameless, and its own parent."""
    if (position, parent, name, kind) != (ROOT_POSITION, ROOT_POSITION, b"", DIRECTORY):
        raise _damaged(position, "has an impossible parent or name")


def _check_target(position: int, size: int, target: bytes) -> None:
    if not 0 < len(target) <= TARGET_SIZE_LIMIT or size != len(target) or b"\0" in target:
        raise _damaged(position, "has an impossible symlink target")


def _decode_text(text: bytes, position: int) -> str:
    try:
        return text.decode("utf-8", "surrogateescape")
    except UnicodeDecodeError as exc:
        raise _damaged(position, "has an unreadable version") from exc


def _damaged(position: int, what: str) -> ManifestDamagedError:
    return ManifestDamagedError(
        f"manifest: inode {position} {what}; publish the dataset again or use another snapshot"
    )
