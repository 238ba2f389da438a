"""The superblock: the fixed head of a manifest, and the snapshot id that is its digest. Pure."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from typing import Final

from cachesvc.errors import UsageError
from vfs.errors import ManifestDamagedError, ManifestForeignError, ManifestNewerError

MAGIC: Final = b"headrace"
FORMAT_VERSION: Final = 2
"""The newest that is read and written: 2 has packed files, 1 has none and is otherwise the same."""
PREFIX: Final = struct.Struct("<8sII16s")
"""magic, superblock size, format version, checksum: these stay where they are in every format."""
PREFIX_SIZE: Final = PREFIX.size
SUPERBLOCK_SIZE_LIMIT: Final = 1 << 16
SNAPSHOT_ID_SIZE: Final = 20
LEAST_CHUNK_SIZE: Final = 512
MAX_CHUNK_SIZE: Final = 16 << 20
"""The bounds of what a cache takes: no manifest makes a reader hold more in memory."""
_BODY: Final = struct.Struct("<IIqQQQQQ16s20sII")
_TABLE: Final = struct.Struct("<QQ16s")
_TABLES_AT: Final = PREFIX.size + _BODY.size
_TEXTS_AT: Final = _TABLES_AT + 3 * _TABLE.size
_HASHED: Final = 1
_NO_PARENT: Final = bytes(SNAPSHOT_ID_SIZE)


@dataclass(frozen=True, slots=True)
class TableRoot:
    """Where a table's top index lies: its record count, the index's offset and its digest."""

    record_count: int
    index_offset: int
    index_digest: bytes


@dataclass(frozen=True, slots=True)
class Superblock:
    """What a manifest says of itself as a whole.

    `source` is the canonical URL of the dataset's root, `root_digest` the digest of all that the
    root directory holds, `parent` the id of the snapshot before this one. `hashed` means that
    every file that has bytes has the hashes of its chunks of `chunk_size` bytes.
    """

    source: str
    message: str
    created_ns: int
    parent: str | None
    chunk_size: int
    hashed: bool
    file_count: int
    directory_count: int
    symlink_count: int
    total_bytes: int
    manifest_size: int
    root_digest: bytes
    inodes: TableRoot
    hashes: TableRoot
    objects: TableRoot

    @property
    def inode_count(self) -> int:
        """How many inodes there are: positions run from 1 to this."""
        return self.inodes.record_count


def superblock_size(source: str, message: str) -> int:
    """Return the size of a superblock with these texts. Raises UsageError when it is too large."""
    size = _TEXTS_AT + len(_encode_text(source)) + len(_encode_text(message))
    if size > SUPERBLOCK_SIZE_LIMIT:
        raise UsageError(
            f"the message is too long: keep it below {SUPERBLOCK_SIZE_LIMIT >> 11} KiB"
        )
    return size


def encode_superblock(block: Superblock) -> bytes:
    """Return the bytes of a superblock, its checksum filled in."""
    source, message = _encode_text(block.source), _encode_text(block.message)
    body = _BODY.pack(
        *(_HASHED if block.hashed else 0, block.chunk_size, block.created_ns),
        *(block.file_count, block.directory_count, block.symlink_count),
        *(block.total_bytes, block.manifest_size, block.root_digest),
        *(bytes.fromhex(block.parent) if block.parent else _NO_PARENT, len(source), len(message)),
    )
    tables = b"".join(
        _TABLE.pack(table.record_count, table.index_offset, table.index_digest)
        for table in (block.inodes, block.hashes, block.objects)
    )
    rest = body + tables + source + message
    size = PREFIX.size + len(rest)
    version = format_version_of(block)
    return PREFIX.pack(MAGIC, size, version, _checksum(size, version, rest)) + rest


def format_version_of(block: Superblock) -> int:
    """Return the oldest format that can say it: an older headrace reads all that it understands."""
    return FORMAT_VERSION if block.objects.record_count else 1


def snapshot_id_of(superblock: bytes) -> str:
    """Return the id of the snapshot that has this superblock: 40 hexadecimal digits."""
    return hashlib.blake2b(superblock, digest_size=SNAPSHOT_ID_SIZE).hexdigest()


def size_in_prefix(prefix: bytes) -> int:
    """Return the superblock's size from a manifest's first `PREFIX_SIZE` bytes or more."""
    magic, size, _, _ = _unpack_prefix(prefix)
    if magic != MAGIC:
        raise ManifestForeignError(
            "this is not a headrace manifest (wrong first bytes); check the URL of the repository"
        )
    if not PREFIX_SIZE <= size <= SUPERBLOCK_SIZE_LIMIT:
        raise _damaged("its superblock has an impossible size")
    return size


def decode_superblock(data: bytes, snapshot_id: str | None) -> Superblock:
    """Return the superblock in *data*, checked; unless it is None, *snapshot_id* must be its id."""
    size_in_prefix(data)
    _, size, version, checksum = _unpack_prefix(data)
    if len(data) != size or _checksum(size, version, data[PREFIX_SIZE:]) != checksum:
        raise _damaged("its superblock is truncated or altered")
    if not 1 <= version <= FORMAT_VERSION:
        raise ManifestNewerError(
            f"the manifest has format {version}, this headrace reads up to {FORMAT_VERSION}: "
            "upgrade headrace"
        )
    if snapshot_id is not None and snapshot_id_of(data) != snapshot_id:
        raise ManifestForeignError(
            f"the manifest is snapshot {snapshot_id_of(data)}, not {snapshot_id} as it is named; "
            "publish the dataset again"
        )
    return _checked(_decode_body(data))


def _decode_body(data: bytes) -> Superblock:
    if len(data) < _TEXTS_AT:
        raise _damaged("its superblock is too short")
    flags, chunk_size, created_ns, files, directories, symlinks, total, size, *rest = (
        _BODY.unpack_from(data, PREFIX.size)
    )
    root_digest, parent, source_size, message_size = rest
    if flags & ~_HASHED or len(data) != _TEXTS_AT + source_size + message_size:
        raise _damaged("its superblock has unknown flags or texts of the wrong size")
    inodes, hashes, objects = (
        TableRoot(*_TABLE.unpack_from(data, _TABLES_AT + number * _TABLE.size))
        for number in range(3)
    )
    return Superblock(
        source=_decode_text(data[_TEXTS_AT : _TEXTS_AT + source_size]),
        message=_decode_text(data[_TEXTS_AT + source_size :]),
        created_ns=created_ns,
        parent=None if parent == _NO_PARENT else parent.hex(),
        chunk_size=chunk_size,
        hashed=bool(flags & _HASHED),
        file_count=files,
        directory_count=directories,
        symlink_count=symlinks,
        total_bytes=total,
        manifest_size=size,
        root_digest=root_digest,
        inodes=inodes,
        hashes=hashes,
        objects=objects,
    )


def _checked(block: Superblock) -> Superblock:
    counted = block.file_count + block.directory_count + block.symlink_count
    if counted != block.inode_count or block.directory_count == 0:
        raise _damaged("its superblock contradicts itself")
    if not LEAST_CHUNK_SIZE <= block.chunk_size <= MAX_CHUNK_SIZE:
        raise _damaged(f"chunks of {block.chunk_size} bytes are not possible")
    return block


def _unpack_prefix(prefix: bytes) -> tuple[bytes, int, int, bytes]:
    if len(prefix) < PREFIX_SIZE:
        raise ManifestForeignError("this is not a headrace manifest: it is too short to be one")
    magic, size, version, checksum = PREFIX.unpack_from(prefix)
    return magic, size, version, checksum


def _checksum(size: int, version: int, rest: bytes) -> bytes:
    head = PREFIX.pack(MAGIC, size, version, bytes(16))
    return hashlib.blake2b(head + rest, digest_size=16).digest()


def _encode_text(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _decode_text(text: bytes) -> str:
    try:
        return text.decode("utf-8", "surrogateescape")
    except UnicodeDecodeError as exc:
        raise _damaged("its superblock has an unreadable text") from exc


def _damaged(what: str) -> ManifestDamagedError:
    return ManifestDamagedError(
        f"the manifest is damaged: {what}; publish the dataset again or use another snapshot"
    )
