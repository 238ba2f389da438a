"""The process from which workers are forked: everything imported, nothing opened, one thread.

What the modules need of memory is there once, however many workers there are.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
from pathlib import Path

from cachesvc.logs import log_to_stderr
from vfs.mounting import wire
from vfs.mounting.record import MountRecord
from vfs.mounting.state import log_path
from vfs.mounting.wire import Message
from vfs.mounting.worker import serve

log = logging.getLogger(__name__)


def main() -> None:
    """Fork a worker whenever the supervisor on standard input says so, until it is gone."""
    # Nobody waits for the workers: whoever serves them has a connection to each.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(fileno=os.dup(0)) as orders:
        gc.collect()
        gc.freeze()
        wire.send(orders, Message("ready"))
        while (order := wire.receive(orders)) is not None:
            pid = os.fork()
            if pid == 0:
                orders.close()
                _become_worker(order)
            order.close()
            wire.send(orders, Message("forked", {"pid": pid}))


def _become_worker(order: Message) -> None:
    """Serve a mount in this fresh child process, and end with it."""
    code = 1
    try:
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        Path("/proc/self/comm").write_text("headrace-worker")
        record = MountRecord.from_json(order.fields["record"])
        _redirect(log_path(record.key))
        log_to_stderr("worker")
        os.environ.update(record.spec.environment)
        connection, supervisor = order.descriptors
        code = serve(record, connection, socket.socket(fileno=supervisor))
    except BaseException:
        log.exception("a worker ends unexpectedly")
    finally:
        os._exit(code)


def _redirect(path: Path) -> None:
    """Let the standard streams of this process go nowhere and into the log at *path*."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    output = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    nowhere = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    os.dup2(nowhere, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    os.close(nowhere)


if __name__ == "__main__":
    main()
