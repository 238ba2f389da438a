"""What the cache service and its clients say to one another: messages in frames. Pure.

A frame is a 4-byte big-endian length and that many bytes of msgpack: a list of a tag and the fields
of one message. Every answer carries the number of its request; `Carried` messages precede the
`Filled` that they belong to. The first message each way is `Hello` and `Welcome`.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple, TypeVar

import msgpack

from cachesvc import errors
from cachesvc.errors import CacheServiceError, HeadraceError
from cachesvc.units import MIB

PROTOCOL_VERSION = 2
MAX_CHUNK_SIZE = 16 * MIB
MAX_REQUEST_SIZE = 1 * MIB
MAX_ANSWER_SIZE = MAX_CHUNK_SIZE + MIB // 16
MAX_TOUCHES = 1024
MAX_ANNOUNCED = 1024
"""Reads of a plan in one message."""

_LENGTH = struct.Struct(">I")

T = TypeVar("T")


class ProtocolError(CacheServiceError):
    """The other side sent something that is not a message of this protocol."""


class Hello(NamedTuple):
    """A client introduces itself."""

    version: int


class Welcome(NamedTuple):
    """The service accepts a client. An empty generation says that nothing can be cached now."""

    version: int
    generation: bytes
    directory: str
    pid: int


class Attach(NamedTuple):
    """From here on *handle* means this origin, on this connection; credentials are inside."""

    handle: int
    origin: dict[str, Any]
    deadline_seconds: float


class Chunks(NamedTuple):
    """Chunks of one version of one object of an origin; `hashes` is as long as `indices` or empty.

    In an order of reading a chunk may come several times.
    """

    handle: int
    key: str
    size: int
    version: str | None
    chunk_size: int
    indices: list[int]
    hashes: list[int | None]


class Fill(NamedTuple):
    """Make these chunks readable; with *carry*, answer with their bytes at least."""

    request: int
    chunks: Chunks
    carry: bool


class Prefetch(NamedTuple):
    """Make these chunks readable when there is nothing better to do. No answer."""

    chunks: Chunks


class Reject(NamedTuple):
    """These chunks came and cannot be right: fetch them anew. Answered as `Fill` is."""

    request: int
    chunks: Chunks


class Plan(NamedTuple):
    """From here on this client will read in the order that follows; what it announced is void.

    At most `window_size` bytes are fetched ahead of the reader, at most `bandwidth` bytes a second;
    0 is no bound of the client's own. Then half of the room that there is for it bounds the window
    once somebody reads.
    """

    plan: int
    window_size: int
    bandwidth: int


class Announce(NamedTuple):
    """The next reads of a plan: the ids of their chunks, end to end, and `pack_wants` of them."""

    plan: int
    ids: bytes
    wants: bytes
    is_last: bool


class Withdraw(NamedTuple):
    """This client will not read on in the order that it announced. No answer."""


class PlanState(StrEnum):
    """What a plan waits for."""

    FILLING = "filling"  # for object storage, its pace, or further reads
    WAITING = "waiting"  # for its reader: as much is fetched ahead as may be
    FULL = "full"  # for the store, which takes nothing now
    EXPIRED = "expired"  # for new credentials
    DONE = "done"  # for nothing


class Progress(NamedTuple):
    """How far a plan has come; sent to who announced it, as long as it changes.

    Of its reads, the reader is behind the first `read_count`; `filled_count` need no fetch any
    more, `failed_count` of them because it failed, the last time with `error` (its name and text).
    `state` is a `PlanState`.
    """

    plan: int
    read_count: int
    filled_count: int
    fetched_size: int
    failed_count: int
    state: str
    error: list[str]


class Touch(NamedTuple):
    """These chunks were read from the map. No answer."""

    chunks: list[bytes]


class Ask(NamedTuple):
    """An administrative question: stats, verify, gc or stop."""

    request: int
    topic: str


class Carried(NamedTuple):
    """The bytes of one chunk that was asked for and could not be cached."""

    request: int
    number: int
    data: bytes | bytearray | memoryview


class Filled(NamedTuple):
    """All chunks of a request can be read from the cache of this generation, or were carried."""

    request: int
    generation: bytes


class Failed(NamedTuple):
    """A request failed; *name* is the class of the error in the service."""

    request: int
    name: str
    text: str


class Told(NamedTuple):
    """The answer to `Ask`."""

    request: int
    answer: dict[str, Any]


Message = (
    Hello
    | Welcome
    | Attach
    | Fill
    | Prefetch
    | Reject
    | Plan
    | Announce
    | Withdraw
    | Progress
    | Touch
    | Ask
    | Carried
    | Filled
    | Failed
    | Told
)

_NONE = type(None)
_CHUNKS_TYPES = (int, str, int, (str, _NONE), int, list, list)
_SHAPES: Mapping[int, tuple[type[Any], tuple[Any, ...]]] = {
    1: (Hello, (int,)),
    2: (Welcome, (int, bytes, str, int)),
    3: (Attach, (int, dict, (int, float))),
    4: (Fill, (int, Chunks, bool)),
    5: (Prefetch, (Chunks,)),
    6: (Touch, (list,)),
    7: (Ask, (int, str)),
    8: (Carried, (int, int, bytes)),
    9: (Filled, (int, bytes)),
    10: (Failed, (int, str, str)),
    11: (Told, (int, dict)),
    12: (Reject, (int, Chunks)),
    13: (Plan, (int, int, int)),
    14: (Announce, (int, bytes, bytes, bool)),
    15: (Withdraw, ()),
    16: (Progress, (int, int, int, int, int, str, list)),
}
_TAGS = {shape[0]: tag for tag, shape in _SHAPES.items()}


def encode(message: Message) -> bytes:
    """Return the frame of one message. Names that are not UTF-8 survive as surrogate escapes."""
    body: bytes = msgpack.packb([_TAGS[type(message)], *message], unicode_errors="surrogateescape")
    return _LENGTH.pack(len(body)) + body


def decode(body: bytes) -> Message:
    """Return the message in one frame's body; raises ProtocolError for anything else.

    Only the outer types are checked: what an element of a list may be is for its reader to say.
    """
    try:
        fields = msgpack.unpackb(body, strict_map_key=False, unicode_errors="surrogateescape")
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise ProtocolError(f"a frame of {len(body)} bytes is not msgpack: {error}") from error
    if not isinstance(fields, list) or not fields or not isinstance(fields[0], int):
        raise ProtocolError(f"a frame of {len(body)} bytes is no message")
    return _message(fields[0], fields[1:])


def _message(tag: int, fields: list[object]) -> Message:
    """Build the message with this tag if its fields have the right number and types."""
    if tag not in _SHAPES:
        raise ProtocolError(f"unknown message {tag}; are both sides of the same version?")
    cls, types = _SHAPES[tag]
    message: Message = _typed(cls, types, fields)
    return message


def chunks_of(fields: object) -> Chunks:
    """Build the `Chunks` with these fields."""
    return _typed(Chunks, _CHUNKS_TYPES, fields)


def _typed(cls: type[T], types: tuple[Any, ...], fields: object) -> T:
    """Build a named tuple if the fields have the right number and types."""
    if isinstance(fields, list) and len(fields) == len(types):
        pairs = zip(types, fields, strict=True)
        values = [chunks_of(field) if kind is Chunks else field for kind, field in pairs]
        if all(map(isinstance, values, types)):
            return cls(*values)
    raise ProtocolError(f"a {cls.__name__} message has the wrong fields")


class FrameBuffer:
    """Cuts a stream of bytes into frames; holds at most one unfinished frame."""

    def __init__(self, max_size: int) -> None:
        """Accept frames whose body has at most *max_size* bytes."""
        self._max_size = max_size
        self._data = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Take what was received and return the bodies of all frames that are complete now."""
        self._data += data
        bodies: list[bytes] = []
        start = 0
        while (body := self._body_at(start)) is not None:
            start += _LENGTH.size + len(body)
            bodies.append(body)
        del self._data[:start]
        return bodies

    def _body_at(self, start: int) -> bytes | None:
        """Return the body of the frame that begins at *start*, or None while it is incomplete."""
        head = start + _LENGTH.size
        if len(self._data) < head:
            return None
        (size,) = _LENGTH.unpack_from(self._data, start)
        if size > self._max_size:
            raise ProtocolError(f"a frame of {size} bytes; at most {self._max_size} are allowed")
        if len(self._data) < head + size:
            return None
        return bytes(memoryview(self._data)[head : head + size])


def failure_of(request: int, error: HeadraceError) -> Failed:
    """Return the message that carries an error: its class by name, and its text."""
    return Failed(request, type(error).__name__, str(error))


def error_of(failed: Failed) -> HeadraceError:
    """Return the error that the service raised; an unknown one becomes CacheServiceError."""
    cls = getattr(errors, failed.name, None)
    if isinstance(cls, type) and issubclass(cls, HeadraceError):
        return cls(failed.text)
    return CacheServiceError(f"{failed.name}: {failed.text}")
