"""A gRPC server at a unix socket that a newer process may take over, and that comes back when lost.

The socket is bound under another name and renamed: whoever listened there before then removes
nothing of ours when it ends, and nobody ever finds a socket on which nobody answers yet.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
import stat
from collections.abc import Callable
from pathlib import Path

from grpc import aio

from csi.config import MAX_SOCKET_PATH
from csi.errors import ConfigurationError

log = logging.getLogger(__name__)

CHECK_SECONDS = 3.0
CONNECT_SECONDS = 1.0

Inode = tuple[int, int]


class SocketServer:
    """Serves at *path* while nobody else does. *drafts* is a directory on the same mount."""

    def __init__(self, path: Path, drafts: Path, build: Callable[[], aio.Server]) -> None:
        """Serve with what *build* returns, which is asked again when the socket was lost."""
        self._path = path
        self._drafts = drafts
        self._build = build
        self._server: aio.Server | None = None
        self._inode: Inode | None = None

    async def start(self) -> None:
        """Begin to serve, in place of whoever did. Raises ConfigurationError."""
        server = self._build()
        draft = self._draft()
        try:
            server.add_insecure_port(f"unix:{draft}")
            await server.start()
            draft.chmod(0o600)
            inode = inode_of(draft)
            draft.replace(self._path)
        except (OSError, RuntimeError) as error:
            await server.stop(None)
            draft.unlink(missing_ok=True)
            raise ConfigurationError(f"cannot serve at {self._path}: {error}") from error
        self._server, self._inode = server, inode
        log.info("serving at %s", self._path)

    async def watch(self) -> None:
        """Come back, until stopped, whenever the socket is gone and nobody else answers there."""
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            if self._server is not None and self._is_lost() and not is_answered(self._path):
                log.warning("the socket %s is gone; serving there again", self._path)
                await self._restart()

    async def stop(self, grace_seconds: float) -> None:
        """Let calls end, then drop the socket if it is still this server's."""
        server, self._server = self._server, None
        if server is not None:
            await server.stop(grace_seconds)
        if not self._is_lost():
            self._path.unlink(missing_ok=True)

    async def _restart(self) -> None:
        lost = self._server
        try:
            await self.start()
        except ConfigurationError as error:
            log.error("%s; trying again", error)
            return
        if lost is not None:
            await lost.stop(CHECK_SECONDS)

    def _is_lost(self) -> bool:
        return self._inode is None or inode_of(self._path) != self._inode

    def _draft(self) -> Path:
        draft = self._drafts / f".{self._path.name}.{secrets.token_hex(4)}"
        if len(bytes(draft)) > MAX_SOCKET_PATH:
            raise ConfigurationError(
                f"{draft} is longer than the path of a socket may be ({MAX_SOCKET_PATH} bytes)"
            )
        return draft


def prepare(path: Path, drafts: Path) -> None:
    """Make the directories and remove sockets on which nobody answers. Raises ConfigurationError.

    The kubelet would dial a stale one, and wait ever longer before it tries again.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        drafts.mkdir(mode=0o700, parents=True, exist_ok=True)
        for found in (path, *drafts.glob(f".{path.name}.*")):
            remove_stale(found)
    except OSError as error:
        raise ConfigurationError(f"cannot serve at {path}: {error}") from error


def remove_stale(path: Path) -> None:
    """Remove a socket on which nobody answers. Raises ConfigurationError for what is no socket."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ConfigurationError(f"{path} is there and no socket; remove it")
    if not is_answered(path):
        path.unlink(missing_ok=True)


def is_answered(path: Path) -> bool:
    """Say whether somebody listens at *path*."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
        caller.settimeout(CONNECT_SECONDS)
        try:
            caller.connect(bytes(path))
        except OSError:
            return False
        return True


def inode_of(path: Path) -> Inode | None:
    """Return what tells this socket from any other at the same path; None where there is none."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
