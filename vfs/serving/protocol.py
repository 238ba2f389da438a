"""The few structures of the kernel's FUSE protocol that headrace reads and writes itself.

Everything else is pyfuse3's. The layouts are those of Linux's include/uapi/linux/fuse.h, protocol
7.44; a message of another length than its structure is refused by `MalformedRequestError`.
"""

from __future__ import annotations

import errno
import struct
from dataclasses import dataclass
from enum import IntEnum, IntFlag

from cachesvc.errors import HeadraceError


class MalformedRequestError(HeadraceError):
    """The kernel, or whoever wrote into the channel, sent a message that is none."""


class Opcode(IntEnum):
    """The requests that the channel looks at (`enum fuse_opcode`)."""

    LOOKUP = 1
    FORGET = 2
    GETATTR = 3
    READLINK = 5
    READ = 15
    STATFS = 17
    GETXATTR = 22
    LISTXATTR = 23
    INIT = 26
    READDIR = 28
    INTERRUPT = 36
    DESTROY = 38
    IOCTL = 39
    BATCH_FORGET = 42
    READDIRPLUS = 44


class Notify(IntEnum):
    """What a server tells the kernel unasked (`enum fuse_notify_code`)."""

    INVAL_INODE = 2
    INVAL_ENTRY = 3
    RESEND = 7
    INC_EPOCH = 8


class InitFlag(IntFlag):
    """Capabilities of a connection (`FUSE_*` flags of INIT, both words)."""

    ASYNC_READ = 1 << 0
    EXPORT_SUPPORT = 1 << 4
    DO_READDIRPLUS = 1 << 13
    ASYNC_DIO = 1 << 15
    NO_OPEN_SUPPORT = 1 << 17
    PARALLEL_DIROPS = 1 << 18
    MAX_PAGES = 1 << 22
    CACHE_SYMLINKS = 1 << 23
    NO_OPENDIR_SUPPORT = 1 << 24
    EXPLICIT_INVAL_DATA = 1 << 25
    INIT_EXT = 1 << 30
    HAS_RESEND = 1 << 39


WANTED_FLAGS = (
    InitFlag.ASYNC_READ
    | InitFlag.EXPORT_SUPPORT
    | InitFlag.DO_READDIRPLUS
    | InitFlag.ASYNC_DIO
    | InitFlag.NO_OPEN_SUPPORT
    | InitFlag.PARALLEL_DIROPS
    | InitFlag.MAX_PAGES
    | InitFlag.CACHE_SYMLINKS
    | InitFlag.NO_OPENDIR_SUPPORT
    | InitFlag.EXPLICIT_INVAL_DATA
    | InitFlag.INIT_EXT
    | InitFlag.HAS_RESEND
)

PROTOCOL_MAJOR = 7
PROTOCOL_MINOR = 44
MAX_BACKGROUND = 512
"""Readahead and direct requests that the kernel keeps in flight; its own default is 12."""
MAX_PAGES = 4096
"""Pages in one request; the kernel takes no more than its fs.fuse.max_pages_limit (256)."""
MAX_WRITE = 4096
"""The least the protocol allows: nobody writes here."""
REQUEST_BUFFER_SIZE = 128 * 1024
"""Bytes for one request, of which the kernel demands 8 KiB at least."""

IN_HEADER = struct.Struct("<IIQQIIIHH")
OUT_HEADER = struct.Struct("<IiQ")
READ_IN = struct.Struct("<QQIIQII")
INIT_IN = struct.Struct("<IIIII44x")
INIT_IN_SHORT = struct.Struct("<IIII")
INIT_OUT = struct.Struct("<IIIIHHIIHHI28x")
INVAL_INODE_OUT = struct.Struct("<Qqq")
INVAL_ENTRY_OUT = struct.Struct("<QII")

LEAST_BODY_SIZES = {
    Opcode.GETATTR: 16,
    Opcode.READLINK: 0,
    Opcode.STATFS: 0,
    Opcode.GETXATTR: 8,
    Opcode.LISTXATTR: 8,
}
"""What pyfuse3 can serve as it comes, and the size of the structure that the body begins with."""


@dataclass(frozen=True, slots=True)
class RequestHeader:
    """The head of every request (`struct fuse_in_header`)."""

    length: int
    opcode: int
    unique: int
    node: int


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """What READ, READDIR and READDIRPLUS ask for (`struct fuse_read_in`)."""

    offset: int
    size: int


def request_header(message: bytes | bytearray | memoryview) -> RequestHeader:
    """Decode the head of a request; MalformedRequestError unless it is as long as it says."""
    if len(message) < IN_HEADER.size:
        raise MalformedRequestError(f"a request of {len(message)} bytes is shorter than its header")
    length, opcode, unique, node, *_ = IN_HEADER.unpack_from(message)
    if length != len(message):
        raise MalformedRequestError(f"a request of {len(message)} bytes says that it has {length}")
    return RequestHeader(length, opcode, unique, node)


def check_body(header: RequestHeader, message: bytes) -> None:
    """Raise MalformedRequestError unless the body is what its opcode demands: libfuse trusts it."""
    body = message[IN_HEADER.size :]
    least = LEAST_BODY_SIZES[Opcode(header.opcode)]
    named = header.opcode == Opcode.GETXATTR
    if len(body) < least or (named and b"\0" not in body[least:]):
        raise MalformedRequestError(f"the body of a request {header.opcode} is malformed")


def lookup_name(message: bytes) -> bytes:
    """Return the name that LOOKUP asks for. Raises MalformedRequestError when it does not end."""
    end = message.find(0, IN_HEADER.size)
    if end < 0:
        raise MalformedRequestError("the name in a LOOKUP does not end")
    return message[IN_HEADER.size : end]


def read_request(message: bytes | bytearray | memoryview) -> ReadRequest:
    """Decode the body of READ or READDIR. Raises MalformedRequestError when it is too short."""
    if len(message) < IN_HEADER.size + READ_IN.size:
        raise MalformedRequestError(f"a request of {len(message)} bytes is too short to read")
    _, offset, size, *_ = READ_IN.unpack_from(message, IN_HEADER.size)
    return ReadRequest(offset, size)


def reply_header(unique: int, size: int) -> bytes:
    """Return the head of a good reply with a body of *size* bytes (`struct fuse_out_header`)."""
    return OUT_HEADER.pack(OUT_HEADER.size + size, 0, unique)


def error_reply(unique: int, code: int) -> bytes:
    """Return the whole reply that fails a request with the errno *code* (a positive number)."""
    return OUT_HEADER.pack(OUT_HEADER.size, -code, unique)


def refusal_of(reply: bytes | memoryview) -> bytes:
    """Return the reply that fails with EIO the request which *reply* was for."""
    return error_reply(OUT_HEADER.unpack_from(reply)[2], errno.EIO)


def init_reply(request: bytes, max_readahead: int) -> bytes:
    """Return our answer to INIT: protocol version, limits and the flags both sides know.

    Raises MalformedRequestError when *request* is no INIT or comes from a kernel older than
    protocol 7.31 (Linux 5.4).
    """
    major, minor, offered = _parse_init(request)
    if (major, minor) < (PROTOCOL_MAJOR, 31):
        raise MalformedRequestError(
            f"the kernel speaks FUSE {major}.{minor}; headrace needs 7.31 (Linux 5.4)"
        )
    granted = int(WANTED_FLAGS) & offered
    body = INIT_OUT.pack(
        PROTOCOL_MAJOR,
        min(minor, PROTOCOL_MINOR),
        max_readahead,
        granted & 0xFFFFFFFF,
        MAX_BACKGROUND,
        MAX_BACKGROUND * 3 // 4,
        MAX_WRITE,
        1,
        MAX_PAGES,
        0,
        granted >> 32,
    )
    return reply_header(request_header(request).unique, len(body)) + body


def can_resend(init: bytes) -> bool:
    """Say whether the kernel that sent *init* repeats requests when told to (Linux 6.9)."""
    return bool(_parse_init(init)[2] & InitFlag.HAS_RESEND)


def _parse_init(request: bytes) -> tuple[int, int, int]:
    """Return the protocol version and the flags that the kernel offers."""
    header = request_header(request)
    if header.opcode != Opcode.INIT or header.length < IN_HEADER.size + INIT_IN_SHORT.size:
        raise MalformedRequestError("the first request on the connection is no INIT")
    major, minor, _, flags = INIT_IN_SHORT.unpack_from(request, IN_HEADER.size)
    if flags & InitFlag.INIT_EXT and header.length >= IN_HEADER.size + INIT_IN.size:
        flags |= INIT_IN.unpack_from(request, IN_HEADER.size)[4] << 32
    return major, minor, flags


def resend_notification() -> bytes:
    """Return the message that makes the kernel repeat every unanswered request (Linux 6.9)."""
    return OUT_HEADER.pack(OUT_HEADER.size, Notify.RESEND, 0)


def inval_inode_notification(node: int) -> bytes:
    """Return the message that drops the attributes and all cached bytes of one inode."""
    body = INVAL_INODE_OUT.pack(node, 0, 0)
    return OUT_HEADER.pack(OUT_HEADER.size + len(body), Notify.INVAL_INODE, 0) + body


def inc_epoch_notification() -> bytes:
    """Return the message that makes every dentry outdated (Linux 6.16; EINVAL on older ones)."""
    return OUT_HEADER.pack(OUT_HEADER.size, Notify.INC_EPOCH, 0)


def barrier_notification(directory: int) -> bytes:
    """Return the message whose write returns when no look-up or listing of *directory* goes on.

    It drops a name that no dentry has, for which the kernel locks the directory as it does for any.
    """
    return inval_entry_notification(directory, b".")


def inval_entry_notification(parent: int, name: bytes) -> bytes:
    """Return the message that drops one dentry."""
    body = INVAL_ENTRY_OUT.pack(parent, len(name), 0) + name + b"\0"
    return OUT_HEADER.pack(OUT_HEADER.size + len(body), Notify.INVAL_ENTRY, 0) + body
