"""Unix sockets by their paths: addresses, connecting, whether somebody listens."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path


@contextmanager
def socket_address(path: Path) -> Iterator[str]:
    """Yield an address for *path* that fits in the 107 bytes of one, however long the path is."""
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


def connect(path: Path) -> socket.socket:
    """Connect to a local listener at once, or raise OSError."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.setblocking(False)
    return connected(sock, path)


def connected(sock: socket.socket, path: Path) -> socket.socket:
    """Return *sock* connected to who listens at *path*; else it is closed, and OSError raised."""
    try:
        with socket_address(path) as address:
            sock.connect(address)
    except OSError:
        sock.close()
        raise
    return sock


def is_answered(path: Path) -> bool:
    """Say whether somebody listens at *path*."""
    try:
        with closing(connect(path)):
            return True
    except BlockingIOError:
        return True
    except OSError:
        return False
