"""The pump between the kernel's /dev/fuse and pyfuse3.

pyfuse3 never holds the real connection: it gets one end of a private socket pair. The channel
answers READ and OPEN itself, hands everything else through, and so lets several processes read one
connection without blocking each other. Nothing is kept from one request to the next.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
from collections.abc import Callable, Sequence
from typing import Protocol

import trio

from vfs.serving import protocol
from vfs.serving.protocol import MalformedRequestError, Opcode, ReadRequest, RequestHeader

log = logging.getLogger(__name__)

REQUESTS_PER_TURN = 32
"""After so many requests in a row other tasks get their turn."""
REPLY_BUFFER_SIZE = 256 * 1024
"""pyfuse3's largest reply is a directory listing of READDIR_SIZE_MAX."""
IOV_MAX = os.sysconf("SC_IOV_MAX")
QUEUED_REQUESTS = 4096
"""Look-ups that may wait for pyfuse3, one for each process that looks; then READ waits too."""
READ_TURN_ERRORS = frozenset({errno.EINTR, errno.ENOENT})
"""read(2) of /dev/fuse: try again. ENOENT: the request was taken back before it was read."""
LATE_REPLY_ERRORS = frozenset({errno.ENOENT, errno.ENODEV})
"""write(2) of /dev/fuse: nobody waits for this reply any more."""

Buffers = Sequence[bytes | memoryview]
Reply = Callable[[Buffers], None]


class FileReads(Protocol):
    """Who knows the bytes of files."""

    def read_nowait(self, node: int, request: ReadRequest, reply: Reply) -> bool:
        """Reply at once and return True when every byte is at hand; else return False."""
        ...

    async def read(self, node: int, request: ReadRequest, reply: Reply) -> None:
        """Wait for the bytes, then reply. Raises what `errno_of` knows."""
        ...


class Channel:
    """One worker's share of a FUSE connection. Owns neither of its two descriptors."""

    def __init__(
        self,
        connection: int,
        pair: socket.socket,
        reads: FileReads,
        errno_of: Callable[[BaseException], int],
    ) -> None:
        """Pump between *connection*, a non-blocking /dev/fuse, and pyfuse3 behind *pair*."""
        self._connection = connection
        self._pair = trio.socket.from_stdlib_socket(pair)
        self._reads = reads
        self._errno_of = errno_of
        self._request = bytearray(protocol.REQUEST_BUFFER_SIZE)
        self._waiting = trio.CancelScope()
        self._retired = False
        self._handed_over = 0
        self._queue, self._queued = trio.open_memory_channel[bytes](QUEUED_REQUESTS)
        self._answered = trio.Event()

    async def initialise(self, init: bytes) -> None:
        """Replay the first request to pyfuse3 and drop its answer: the kernel has got one."""
        await self._pair.send(init)
        await self._pair.recv(REPLY_BUFFER_SIZE)

    async def run(self) -> None:
        """Serve until the file system is unmounted, or until all is answered after `retire`."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._pump_replies)
            nursery.start_soon(self._feed_pyfuse3)
            async with trio.open_nursery() as reads:
                await self._pump_requests(reads)
                if not self._retired:
                    reads.cancel_scope.cancel()
            if self._retired:
                await self._wait_for_pyfuse3()
            nursery.cancel_scope.cancel()

    def retire(self) -> None:
        """Take no more requests; `run` returns when those that were taken are answered."""
        self._retired = True
        self._waiting.cancel()

    async def _wait_for_pyfuse3(self) -> None:
        while self._handed_over > 0:
            self._answered = trio.Event()
            await self._answered.wait()

    async def _pump_requests(self, nursery: trio.Nursery) -> None:
        while not self._retired:
            with trio.CancelScope() as self._waiting:
                await trio.lowlevel.wait_readable(self._connection)
            if self._retired:
                return
            for _ in range(REQUESTS_PER_TURN):
                try:
                    size = os.readv(self._connection, [self._request])
                except BlockingIOError:
                    break
                except OSError as error:
                    if error.errno == errno.ENODEV:
                        return
                    if error.errno not in READ_TURN_ERRORS:
                        raise
                else:
                    if size == 0:
                        return
                    await self._accept(bytes(memoryview(self._request)[:size]), nursery)

    async def _accept(self, message: bytes, nursery: trio.Nursery) -> None:
        try:
            header = protocol.request_header(message)
        except MalformedRequestError as error:
            log.error("dropped a request: %s", error)
            return
        try:
            await self._dispatch(header, message, nursery)
        except MalformedRequestError as error:
            self._fail(header.unique, error)

    async def _dispatch(self, header: RequestHeader, message: bytes, nursery: trio.Nursery) -> None:
        match header.opcode:
            case Opcode.READ:
                self._start_read(header, protocol.read_request(message), nursery)
            case Opcode.IOCTL:
                # Python's open() asks each file whether it is a terminal, and the kernel keeps no
                # answer: on a re-read of cached files this is the only request there is.
                self._write([protocol.error_reply(header.unique, errno.ENOTTY)])
            case Opcode.READDIR | Opcode.READDIRPLUS:
                await self._hand_over(protocol.as_pyfuse3_readdir(message, header.node))
            case Opcode.FORGET | Opcode.BATCH_FORGET | Opcode.INTERRUPT | Opcode.DESTROY:
                # None of them has an answer, and there is nothing to forget. An interrupted reader
                # of the page cache leaves by itself; any other waits no longer than its fetch's
                # deadline.
                pass
            case opcode if opcode in protocol.LEAST_BODY_SIZES:
                protocol.check_body(header, message)
                await self._hand_over(message)
            case _:
                # OPEN and OPENDIR among them: said once, the kernel stops asking, and re-reads of
                # cached files never leave it.
                self._write([protocol.error_reply(header.unique, errno.ENOSYS)])

    async def _hand_over(self, message: bytes) -> None:
        """Let pyfuse3 answer a request, with one reply."""
        self._handed_over += 1
        await self._queue.send(message)

    async def _feed_pyfuse3(self) -> None:
        """Pass on what pyfuse3 is to answer, so that no READ waits while its tasks are all busy."""
        async for message in self._queued:
            await self._pair.send(message)

    def _start_read(
        self, header: RequestHeader, request: ReadRequest, nursery: trio.Nursery
    ) -> None:
        def reply(buffers: Buffers) -> None:
            size = sum(map(len, buffers))
            self._write([protocol.reply_header(header.unique, size), *buffers])

        try:
            if self._reads.read_nowait(header.node, request, reply):
                return
        except Exception as error:  # noqa: BLE001 - one bad request must not end the mount
            self._fail(header.unique, error)
            return
        nursery.start_soon(self._read_later, header, request, reply)

    async def _read_later(self, header: RequestHeader, request: ReadRequest, reply: Reply) -> None:
        try:
            await self._reads.read(header.node, request, reply)
        except Exception as error:  # noqa: BLE001 - as above
            self._fail(header.unique, error)

    def _fail(self, unique: int, error: Exception) -> None:
        self._write([protocol.error_reply(unique, self._errno_of(error))])

    async def _pump_replies(self) -> None:
        reply = bytearray(REPLY_BUFFER_SIZE)
        while True:
            size = await self._pair.recv_into(reply)
            if size == 0:
                return
            self._write([memoryview(reply)[:size]])
            self._handed_over -= 1
            self._answered.set()

    def _write(self, buffers: Buffers) -> None:
        """Write a reply, whose head comes first; one that the kernel refuses becomes EIO."""
        try:
            os.writev(self._connection, buffers if len(buffers) <= IOV_MAX else [b"".join(buffers)])
        except OSError as error:
            if error.errno in LATE_REPLY_ERRORS:
                log.debug("late reply: %s", error)
                return
            log.error("the kernel did not take a reply of %d buffers: %s", len(buffers), error)
            with contextlib.suppress(OSError):
                os.write(self._connection, protocol.refusal_of(buffers[0]))


def pyfuse3_pair() -> tuple[socket.socket, socket.socket]:
    """Return the channel's and pyfuse3's end of a new pair that keeps message borders."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    return ours, theirs
