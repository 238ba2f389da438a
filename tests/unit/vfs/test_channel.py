from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
import trio

from vfs.errors import StaleInodeError
from vfs.serving.channel import Channel, Reply, pyfuse3_pair
from vfs.serving.errno import errno_of
from vfs.serving.protocol import (
    IN_HEADER,
    OUT_HEADER,
    READ_IN,
    Opcode,
    ReadRequest,
    error_reply,
)

UNIQUE = 4
LOST = 7
ROOM = 4096
ANSWER_SECONDS = 10


class OneNameKnown:
    """A directory of which one name is in memory."""

    def lookup_nowait(self, directory: int, name: bytes) -> bytes | None:
        del directory
        return b"entry" if name == b"known" else None

    def getattr_nowait(self, node: int) -> bytes | None:
        raise StaleInodeError(f"nobody knows {node}")


class OneListingKnown:
    """A directory of which the beginning is in memory, and which cannot be read from LOST on."""

    def list_nowait(self, ino: int, request: ReadRequest, *, plus: bool) -> bytes | None:
        del ino
        return told(request, plus=plus) if request.offset == 0 else None

    async def list(self, ino: int, request: ReadRequest, *, plus: bool) -> bytes:
        if request.offset == LOST:
            raise StaleInodeError(f"nobody knows {ino}")
        return told(request, plus=plus)


def told(request: ReadRequest, *, plus: bool) -> bytes:
    """Return what stands for a listing: what was asked for."""
    return b"%d %d %d" % (request.offset, request.size, plus)


class PiecesOfOneByte:
    """A file whose every byte is a piece of its own."""

    def read_nowait(
        self, node: int, request: ReadRequest, reply: Reply, *, from_disk: bool
    ) -> bool:
        del node
        reply([b"x"] * request.size)
        return True

    async def read(self, node: int, request: ReadRequest, reply: Reply) -> None:
        raise NotImplementedError


class BrokenFile:
    """A file of which nothing can be read: whatever is tried is a bug."""

    def read_nowait(
        self, node: int, request: ReadRequest, reply: Reply, *, from_disk: bool
    ) -> bool:
        raise ZeroDivisionError

    async def read(self, node: int, request: ReadRequest, reply: Reply) -> None:
        raise NotImplementedError


class LateFile(BrokenFile):
    """A file that has to be waited for, in vain."""

    def read_nowait(
        self, node: int, request: ReadRequest, reply: Reply, *, from_disk: bool
    ) -> bool:
        return False

    async def read(self, node: int, request: ReadRequest, reply: Reply) -> None:
        raise ZeroDivisionError


class FileOnDisk(BrokenFile):
    """A file of which reads of an even size have to come from the disk, and those of 4 break."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def read_nowait(
        self, node: int, request: ReadRequest, reply: Reply, *, from_disk: bool
    ) -> bool:
        self.asked.append(request.size)
        if request.size % 2 == 0 and not from_disk:
            return False
        if request.size == 4:
            raise ZeroDivisionError
        reply([b"x" * request.size])
        return True


Files = PiecesOfOneByte | BrokenFile


def channel_between(connection: int, pair: socket.socket, files: Files) -> Channel:
    """Return a channel that knows one name, one listing and the bytes of *files*."""
    names, directories = OneNameKnown(), OneListingKnown()
    return Channel(connection, pair, files, names, directories, errno_of=errno_of)


@contextmanager
def connection() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Give the kernel's end and the server's end of what stands for /dev/fuse."""
    kernel, server = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with kernel, server:
        server.setblocking(False)
        kernel.settimeout(10)
        yield kernel, server


def request(opcode: Opcode, body: bytes, unique: int = UNIQUE) -> bytes:
    """Return a request as the kernel would send it."""
    return IN_HEADER.pack(IN_HEADER.size + len(body), opcode, unique, 2, 0, 0, 0, 0, 0) + body


def read_of(size: int, unique: int = UNIQUE) -> bytes:
    """Return READ of *size* bytes."""
    return request(Opcode.READ, READ_IN.pack(0, 0, size, 0, 0, 0, 0), unique)


def listing_of(opcode: Opcode, cookie: int) -> bytes:
    """Return READDIR or READDIRPLUS from *cookie* on."""
    return request(opcode, READ_IN.pack(0, cookie, ROOM, 0, 0, 0, 0))


def answer_to(message: bytes, file: Files) -> bytes:
    """Return what a channel answers when pyfuse3 says nothing."""
    ours, theirs = pyfuse3_pair()
    with connection() as (kernel, server), ours, theirs:
        kernel.send(message)
        kernel.shutdown(socket.SHUT_WR)
        channel = channel_between(server.fileno(), ours, file)
        trio.run(serve_until_answered, channel, kernel)
        return kernel.recv(1 << 20)


def answer(file: Files, size: int) -> bytes:
    """Return what a channel answers to READ of *size* bytes of *file*."""
    return answer_to(read_of(size), file)


async def serve_until_answered(channel: Channel, kernel: socket.socket) -> None:
    with trio.fail_after(ANSWER_SECONDS):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(channel.run)
            await trio.lowlevel.wait_readable(kernel)
            nursery.cancel_scope.cancel()


def test_a_reply_of_more_pieces_than_writev_takes_is_written_all_the_same() -> None:
    size = os.sysconf("SC_IOV_MAX") + 5
    reply = answer(PiecesOfOneByte(), size)
    assert OUT_HEADER.unpack_from(reply) == (OUT_HEADER.size + size, 0, UNIQUE)
    assert reply[OUT_HEADER.size :] == b"x" * size


def test_an_exception_in_reading_is_eio_for_that_request() -> None:
    for file in (BrokenFile(), LateFile()):
        assert OUT_HEADER.unpack_from(answer(file, 1)) == (OUT_HEADER.size, -errno.EIO, UNIQUE)


def test_reads_from_the_disk_are_all_asked_for_before_one_is_waited_for() -> None:
    ours, theirs = pyfuse3_pair()
    file = FileOnDisk()
    with connection() as (kernel, server), ours, theirs:
        for size in (2, 4, 3, 6):
            kernel.send(read_of(size, unique=size))
        kernel.shutdown(socket.SHUT_WR)
        trio.run(serve_until_answered, channel_between(server.fileno(), ours, file), kernel)
        replies = [OUT_HEADER.unpack_from(kernel.recv(100)) for _ in range(4)]
    assert file.asked == [2, 4, 3, 6, 2, 4, 6]
    assert [unique for _, _, unique in replies] == [3, 2, 4, 6]
    assert [error for _, error, _ in replies] == [0, 0, -errno.EIO, 0]


def test_a_reply_that_is_refused_becomes_eio() -> None:
    too_large_for_the_socket = 8 << 20
    reply = answer(PiecesOfOneByte(), too_large_for_the_socket)
    assert OUT_HEADER.unpack_from(reply) == (OUT_HEADER.size, -errno.EIO, UNIQUE)


def test_a_name_that_is_known_is_told_at_once() -> None:
    reply = answer_to(request(Opcode.LOOKUP, b"known\0"), BrokenFile())
    assert reply == OUT_HEADER.pack(OUT_HEADER.size + 5, 0, UNIQUE) + b"entry"


def test_an_error_in_telling_attributes_is_that_requests_errno() -> None:
    reply = answer_to(request(Opcode.GETATTR, bytes(16)), BrokenFile())
    assert OUT_HEADER.unpack(reply) == (OUT_HEADER.size, -errno.ESTALE, UNIQUE)


@pytest.mark.parametrize("opcode", [Opcode.READDIR, Opcode.READDIRPLUS])
@pytest.mark.parametrize("cookie", [0, 1], ids=["at once", "after waiting"])
def test_a_directory_is_listed_from_where_it_is_asked_for(opcode: Opcode, cookie: int) -> None:
    reply = answer_to(listing_of(opcode, cookie), BrokenFile())
    body = told(ReadRequest(cookie, ROOM), plus=opcode == Opcode.READDIRPLUS)
    assert reply == OUT_HEADER.pack(OUT_HEADER.size + len(body), 0, UNIQUE) + body


def test_an_error_in_waiting_for_a_listing_is_that_requests_errno() -> None:
    reply = answer_to(listing_of(Opcode.READDIR, LOST), BrokenFile())
    assert OUT_HEADER.unpack(reply) == (OUT_HEADER.size, -errno.ESTALE, UNIQUE)


def test_a_name_that_is_not_known_is_left_to_pyfuse3() -> None:
    message = request(Opcode.LOOKUP, b"unknown\0")
    ours, theirs = pyfuse3_pair()
    with connection() as (kernel, server), ours, theirs:
        kernel.send(message)
        channel = channel_between(server.fileno(), ours, BrokenFile())
        theirs.settimeout(10)

        async def answer_as_pyfuse3() -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(channel.run)
                await trio.lowlevel.wait_readable(theirs)
                assert theirs.recv(1000) == message
                channel.retire()
                theirs.send(error_reply(UNIQUE, errno.ENOENT))

        trio.run(answer_as_pyfuse3)
        assert kernel.recv(1000) == error_reply(UNIQUE, errno.ENOENT)


def test_two_channels_of_one_connection_answer_each_request_once() -> None:
    """Both are woken by each request; the one that finds nothing is there for the next."""
    uniques = range(1, 201)
    answered: list[int] = []

    async def ask() -> None:
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                for channel in channels:
                    nursery.start_soon(channel.run)
                for unique in uniques:
                    kernel.send(read_of(1, unique))
                    await trio.lowlevel.wait_readable(kernel)
                    answered.append(OUT_HEADER.unpack_from(kernel.recv(100))[2])
                for channel in channels:
                    channel.retire()

    with connection() as (kernel, server), server.dup() as other, ExitStack() as ends:
        channels = []
        for end in (server, other):
            ours, theirs = pyfuse3_pair()
            ends.enter_context(ours)
            ends.enter_context(theirs)
            channels.append(channel_between(end.fileno(), ours, PiecesOfOneByte()))
        trio.run(ask)
    assert answered == list(uniques)
