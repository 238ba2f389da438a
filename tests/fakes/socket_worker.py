"""A real worker whose connection to the kernel is a socket, in a process of its own.

`python -m tests.fakes.socket_worker CONNECTION SUPERVISOR`, both descriptors; the record on stdin.
"""

from __future__ import annotations

import socket
import sys

from vfs.mounting.record import MountRecord
from vfs.mounting.worker import serve

if __name__ == "__main__":
    connection, supervisor = map(int, sys.argv[1:])
    record = MountRecord.from_json(sys.stdin.read())
    sys.exit(serve(record, connection, socket.socket(fileno=supervisor)))
