from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import trio

from vfs.serving.channel import Channel, Reply, pyfuse3_pair
from vfs.serving.errno import errno_of
from vfs.serving.protocol import IN_HEADER, OUT_HEADER, READ_IN, Opcode, ReadRequest

UNIQUE = 4


class PiecesOfOneByte:
    """A file whose every byte is a piece of its own."""

    def read_nowait(self, node: int, request: ReadRequest, reply: Reply) -> bool:
        del node
        reply([b"x"] * request.size)
        return True

    async def read(self, node: int, request: ReadRequest, reply: Reply) -> None:
        raise NotImplementedError


class BrokenFile:
    """A file of which nothing can be read: whatever is tried is a bug."""

    def read_nowait(self, node: int, request: ReadRequest, reply: Reply) -> bool:
        raise ZeroDivisionError

    async def read(self, node: int, request: ReadRequest, reply: Reply) -> None:
        raise NotImplementedError


class LateFile(BrokenFile):
    """A file that has to be waited for, in vain."""

    def read_nowait(self, node: int, request: ReadRequest, reply: Reply) -> bool:
        return False

    async def read(self, node: int, request: ReadRequest, reply: Reply) -> None:
        raise ZeroDivisionError


@contextmanager
def connection() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Give the kernel's end and the server's end of what stands for /dev/fuse."""
    kernel, server = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with kernel, server:
        server.setblocking(False)
        kernel.settimeout(10)
        yield kernel, server


def answer(file: PiecesOfOneByte | BrokenFile, size: int) -> bytes:
    """Return what a channel answers to READ of *size* bytes of *file*."""
    body = READ_IN.pack(0, 0, size, 0, 0, 0, 0)
    head = IN_HEADER.pack(IN_HEADER.size + len(body), Opcode.READ, UNIQUE, 2, 0, 0, 0, 0, 0)
    ours, theirs = pyfuse3_pair()
    with connection() as (kernel, server), ours, theirs:
        kernel.send(head + body)
        kernel.shutdown(socket.SHUT_WR)
        trio.run(serve_until_answered, Channel(server.fileno(), ours, file, errno_of), kernel)
        return kernel.recv(1 << 20)


async def serve_until_answered(channel: Channel, kernel: socket.socket) -> None:
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


def test_a_reply_that_is_refused_becomes_eio() -> None:
    too_large_for_the_socket = 8 << 20
    reply = answer(PiecesOfOneByte(), too_large_for_the_socket)
    assert OUT_HEADER.unpack_from(reply) == (OUT_HEADER.size, -errno.EIO, UNIQUE)
