"""Messages with descriptors between a node's processes.

Over unix sockets that keep message borders (SOCK_SEQPACKET), so a message and its descriptors
arrive together or not at all. What is sent stays with the peer even when the sender dies at once.
"""

from __future__ import annotations

import array
import json
import os
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cachesvc.unixsocket import connected, socket_address
from vfs.errors import MountError

WIRE_VERSION = 1
MAX_MESSAGE_SIZE = 128 * 1024
"""Less than a socket takes at once (net.core.wmem_default)."""
MAX_DESCRIPTORS = 4
BACKLOG = 128

_INTS = array.array("i")
_CONTROL_SIZE = socket.CMSG_SPACE(MAX_DESCRIPTORS * _INTS.itemsize)
_PEER = struct.Struct("3i")


class WireError(MountError):
    """A message of another version, or none at all."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message; whoever received it owns its descriptors, which are closed on exec."""

    kind: str
    fields: Mapping[str, Any] = field(default_factory=dict, repr=False)
    descriptors: tuple[int, ...] = ()

    def close(self) -> None:
        """Close the descriptors."""
        for descriptor in self.descriptors:
            os.close(descriptor)


def failure(error: Exception, name: str = "") -> Message:
    """Return the answer that something was not done because of *error*, by *name* another's."""
    return Message("failed", {"name": name or type(error).__name__, "error": str(error)})


def send(sock: socket.socket, message: Message) -> None:
    """Send *message*; its descriptors stay the sender's own. Raises OSError."""
    content = {"version": WIRE_VERSION, "kind": message.kind, "fields": message.fields}
    data = json.dumps(content).encode()
    if len(data) > MAX_MESSAGE_SIZE:
        raise WireError(f"a message of {len(data)} bytes is too large")
    control = (
        [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", message.descriptors))]
        if message.descriptors
        else []
    )
    sock.sendmsg([data], control, socket.MSG_NOSIGNAL)


def receive(sock: socket.socket) -> Message | None:
    """Return the next message, None when the peer is gone.

    Raises WireError, BlockingIOError and TimeoutError.
    """
    try:
        data, control, flags, _ = sock.recvmsg(
            MAX_MESSAGE_SIZE, _CONTROL_SIZE, socket.MSG_CMSG_CLOEXEC
        )
    except (ConnectionResetError, BrokenPipeError):
        return None
    descriptors = tuple(_descriptors_in(control))
    message = Message("", {}, descriptors)
    if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
        message.close()
        raise WireError("a message was longer than any may be")
    if not data:
        return None
    try:
        content = json.loads(data)
        version, kind, fields = content["version"], content["kind"], content["fields"]
    except (ValueError, KeyError, TypeError):
        message.close()
        raise WireError("a peer sent something that is no message") from None
    if version != WIRE_VERSION or not isinstance(fields, dict):
        message.close()
        raise WireError(f"a peer speaks version {version!r}, this is {WIRE_VERSION}")
    return Message(kind, fields, descriptors)


def _descriptors_in(control: list[tuple[int, int, bytes]]) -> array.array[int]:
    found = array.array("i")
    for level, kind, data in control:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            found.frombytes(data[: len(data) - len(data) % found.itemsize])
    return found


def pair() -> tuple[socket.socket, socket.socket]:
    """Return two connected ends."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def connect(path: Path) -> socket.socket:
    """Connect to who listens at *path*, or raise OSError."""
    return connected(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET), path)


def listen(path: Path) -> socket.socket:
    """Listen at *path*, in one step in place of whoever did before."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with socket_address(draft) as address:
        sock.bind(address)
    draft.chmod(0o600)
    claim(sock)
    draft.replace(path)
    return sock


def claim(listener: socket.socket) -> None:
    """Make this process the one that callers of *listener* see (`peer_pid`)."""
    listener.listen(BACKLOG)


def peer_pid(sock: socket.socket) -> int:
    """Return the process that connected to, or listens at, the other end."""
    peer = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    pid: int = _PEER.unpack(peer)[0]
    return pid
