"""The pump between the kernel's /dev/fuse and pyfuse3.

pyfuse3 never holds the real connection: it gets one end of a private socket pair. The channel
answers READ, READDIR and OPEN itself, and names and attributes where nothing has to be read first;
it hands everything else through, and so lets several processes read one connection without blocking
each other. Nothing is kept from one request to the next.
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
OUTRUN_SECONDS = 0.001
"""Every request wakes all workers of a mount. One that was woken for nothing rests so long, since
another keeps up by itself; where none does, there is something to take when it looks again."""
REPLY_BUFFER_SIZE = 128 * 1024
"""pyfuse3's largest reply is an extended attribute, for which the kernel has 64 KiB."""
IOV_MAX = os.sysconf("SC_IOV_MAX")
HANDED_OVER_MAX = 4096
"""Requests that may wait for pyfuse3, one for each process that looks; then READ waits too."""
READ_TURN_ERRORS = frozenset({errno.EINTR, errno.ENOENT})
"""read(2) of /dev/fuse: try again. ENOENT: the request was taken back before it was read."""
LATE_REPLY_ERRORS = frozenset({errno.ENOENT, errno.ENODEV})
"""write(2) of /dev/fuse: nobody waits for this reply any more."""

Buffers = Sequence[bytes | memoryview]
Reply = Callable[[Buffers], None]


class FileReads(Protocol):
    """Who knows the bytes of files."""

    def read_nowait(
        self, node: int, request: ReadRequest, reply: Reply, *, from_disk: bool
    ) -> bool:
        """Reply at once and return True when every byte is at hand; else return False.

        What lies on the node's disk is only if it may come *from_disk*; it is asked for in any
        case.
        """
        ...

    async def read(self, node: int, request: ReadRequest, reply: Reply) -> None:
        """Wait for the bytes, then reply. Raises what `errno_of` knows."""
        ...


class Names(Protocol):
    """Who knows names and attributes."""

    def lookup_nowait(self, directory: int, name: bytes) -> bytes | None:
        """Return the body of the answer to LOOKUP; None when pyfuse3 has to wait for it."""
        ...

    def getattr_nowait(self, node: int) -> bytes | None:
        """Return the body of the answer to GETATTR; None when pyfuse3 has to wait for it."""
        ...


class Directories(Protocol):
    """Who knows the entries of directories."""

    def list_nowait(self, ino: int, request: ReadRequest, *, plus: bool) -> bytes | None:
        """Return the body of the answer to READDIR or READDIRPLUS; None when that has to wait."""
        ...

    async def list(self, ino: int, request: ReadRequest, *, plus: bool) -> bytes:
        """Wait for what has to be read, and return the same. Raises what `errno_of` knows."""
        ...


class Channel:
    """One worker's share of a FUSE connection. Owns neither of its two descriptors."""

    def __init__(
        self,
        connection: int,
        pair: socket.socket,
        reads: FileReads,
        names: Names,
        directories: Directories,
        *,
        errno_of: Callable[[BaseException], int],
    ) -> None:
        """Pump between *connection*, a non-blocking /dev/fuse, and pyfuse3 behind *pair*."""
        self._connection = connection
        self._pair = trio.socket.from_stdlib_socket(pair)
        self._reads = reads
        self._names = names
        self._directories = directories
        self._errno_of = errno_of
        self._request = bytearray(protocol.REQUEST_BUFFER_SIZE)
        self._taking = trio.CancelScope()
        self._handed_over = 0
        self._postponed: list[tuple[RequestHeader, ReadRequest, Reply]] = []
        self._queue, self._queued = trio.open_memory_channel[bytes](
            HANDED_OVER_MAX + REQUESTS_PER_TURN
        )
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
                if not self._taking.cancel_called:
                    reads.cancel_scope.cancel()
            while self._taking.cancel_called and self._handed_over > 0:
                await self._wait_for_pyfuse3()
            nursery.cancel_scope.cancel()

    def retire(self) -> None:
        """Take no more requests; `run` returns when those that were taken are answered."""
        self._taking.cancel()

    async def _wait_for_pyfuse3(self) -> None:
        """Wait for one more of its replies."""
        self._answered = trio.Event()
        await self._answered.wait()

    async def _pump_requests(self, nursery: trio.Nursery) -> None:
        # One scope for all waiting: one for each request would cost 0.7 us of its 11.
        with self._taking:
            while True:
                await trio.lowlevel.wait_readable(self._connection)
                taken = self._take_requests(nursery)
                if taken is None:
                    return
                if taken == 0:
                    await trio.sleep(OUTRUN_SECONDS)
                while self._handed_over >= HANDED_OVER_MAX:
                    await self._wait_for_pyfuse3()

    def _take_requests(self, nursery: trio.Nursery) -> int | None:
        """Answer or pass on what lies there; return how many, None when there come no more.

        Reads that the disk has to bring come last: it brings them side by side meanwhile.
        """
        taken = self._take_turn(nursery)
        postponed, self._postponed = self._postponed, []
        for read in postponed:
            self._finish_read(*read, nursery)
        return taken

    def _take_turn(self, nursery: trio.Nursery) -> int | None:
        for taken in range(REQUESTS_PER_TURN):
            try:
                size = os.readv(self._connection, [self._request])
            except BlockingIOError:
                return taken
            except OSError as error:
                if error.errno == errno.ENODEV:
                    return None
                if error.errno not in READ_TURN_ERRORS:
                    raise
            else:
                if size == 0:
                    return None
                self._accept(bytes(memoryview(self._request)[:size]), nursery)
        return REQUESTS_PER_TURN

    def _accept(self, message: bytes, nursery: trio.Nursery) -> None:
        try:
            header = protocol.request_header(message)
        except MalformedRequestError as error:
            log.error("dropped a request: %s", error)
            return
        try:
            self._dispatch(header, message, nursery)
        except Exception as error:  # noqa: BLE001 - one bad request must not end the mount
            self._fail(header.unique, error)

    def _dispatch(self, header: RequestHeader, message: bytes, nursery: trio.Nursery) -> None:
        match header.opcode:
            case Opcode.READ:
                self._start_read(header, protocol.read_request(message))
            case Opcode.LOOKUP:
                name = protocol.lookup_name(message)
                self._tell(header, message, self._names.lookup_nowait(header.node, name))
            case Opcode.IOCTL:
                # Python's open() asks each file whether it is a terminal, and the kernel keeps no
                # answer: on a re-read of cached files this is the only request there is.
                self._write([protocol.error_reply(header.unique, errno.ENOTTY)])
            case Opcode.GETATTR:
                protocol.check_body(header, message)
                self._tell(header, message, self._names.getattr_nowait(header.node))
            case Opcode.READDIR | Opcode.READDIRPLUS:
                self._start_listing(header, protocol.read_request(message), nursery)
            case Opcode.FORGET | Opcode.BATCH_FORGET | Opcode.INTERRUPT | Opcode.DESTROY:
                # None of them has an answer, and there is nothing to forget. An interrupted reader
                # of the page cache leaves by itself; any other waits no longer than its fetch's
                # deadline.
                pass
            case opcode if opcode in protocol.LEAST_BODY_SIZES:
                protocol.check_body(header, message)
                self._hand_over(message)
            case _:
                # OPEN and OPENDIR among them: said once, the kernel stops asking, and re-reads of
                # cached files never leave it.
                self._write([protocol.error_reply(header.unique, errno.ENOSYS)])

    def _tell(self, header: RequestHeader, message: bytes, body: bytes | None) -> None:
        """Answer with *body*, or have pyfuse3 answer where that is not known yet."""
        if body is None:
            self._hand_over(message)
        else:
            self._answer(header, body)

    def _answer(self, header: RequestHeader, body: bytes) -> None:
        self._write([protocol.reply_header(header.unique, len(body)) + body])

    def _hand_over(self, message: bytes) -> None:
        """Let pyfuse3 answer a request, with one reply."""
        self._queue.send_nowait(message)
        self._handed_over += 1

    async def _feed_pyfuse3(self) -> None:
        """Pass on what pyfuse3 is to answer, so that no READ waits while its tasks are all busy."""
        async for message in self._queued:
            await self._pair.send(message)

    def _start_read(self, header: RequestHeader, request: ReadRequest) -> None:
        def reply(buffers: Buffers) -> None:
            size = sum(map(len, buffers))
            self._write([protocol.reply_header(header.unique, size), *buffers])

        if not self._reads.read_nowait(header.node, request, reply, from_disk=False):
            self._postponed.append((header, request, reply))

    def _finish_read(
        self, header: RequestHeader, request: ReadRequest, reply: Reply, nursery: trio.Nursery
    ) -> None:
        try:
            is_done = self._reads.read_nowait(header.node, request, reply, from_disk=True)
        except Exception as error:  # noqa: BLE001 - as above
            self._fail(header.unique, error)
        else:
            if not is_done:
                nursery.start_soon(self._read_later, header, request, reply)

    async def _read_later(self, header: RequestHeader, request: ReadRequest, reply: Reply) -> None:
        try:
            await self._reads.read(header.node, request, reply)
        except Exception as error:  # noqa: BLE001 - as above
            self._fail(header.unique, error)

    def _start_listing(
        self, header: RequestHeader, request: ReadRequest, nursery: trio.Nursery
    ) -> None:
        plus = header.opcode == Opcode.READDIRPLUS
        body = self._directories.list_nowait(header.node, request, plus=plus)
        if body is None:
            nursery.start_soon(self._list_later, header, request, plus)
        else:
            self._answer(header, body)

    async def _list_later(self, header: RequestHeader, request: ReadRequest, plus: bool) -> None:
        try:
            body = await self._directories.list(header.node, request, plus=plus)
        except Exception as error:  # noqa: BLE001 - as above
            self._fail(header.unique, error)
        else:
            self._answer(header, body)

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
