"""The process from which workers are forked: everything imported, nothing opened, one thread.

What the modules need of memory is there once, however many workers there are. Children are forked
for prefetches too, and in a mounter for questions about datasets.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import anyio
import anyio.lowlevel

from cachesvc.errors import HeadraceError
from cachesvc.logs import log_to_stderr
from vfs.mounting import wire
from vfs.mounting.prefetcher import obey
from vfs.mounting.record import MountRecord
from vfs.mounting.resolving import RESOLVE_SECONDS, ResolveRequest, import_engines, resolve
from vfs.mounting.role import is_mounter, mounter_cache
from vfs.mounting.state import log_path, mount_directory
from vfs.mounting.wire import Message
from vfs.mounting.worker import serve

log = logging.getLogger(__name__)


def main() -> None:
    """Fork a child whenever the supervisor on standard input says so, until it is gone."""
    # Nobody waits for the workers: whoever serves them has a connection to each.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    if is_mounter():
        import_engines()
    warm_up()
    gc.collect()
    gc.freeze()
    with socket.socket(fileno=os.dup(0)) as orders, suppress(BrokenPipeError):
        _fork_for(orders)


def warm_up() -> None:
    """Have anyio import here, and once, what it needs for trio: 9 ms of each worker's start."""
    anyio.run(anyio.lowlevel.checkpoint, backend="trio")


def _fork_for(orders: socket.socket) -> None:
    """Fork a child for each order. Raises BrokenPipeError when the supervisor is gone."""
    wire.send(orders, Message("ready"))
    while (order := wire.receive(orders)) is not None:
        pid = os.fork()
        if pid == 0:
            orders.close()
            _obey(order)
        order.close()
        wire.send(orders, Message("forked", {"pid": pid}))


def _obey(order: Message) -> None:
    """Do what was ordered in this fresh child process, and end with it."""
    code = 1
    try:
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _close_input()
        code = _ROLES[order.kind](order)
    except BaseException:
        log.exception("a process ends unexpectedly")
    finally:
        os._exit(code)


def _become_worker(order: Message) -> int:
    """Serve a mount."""
    Path("/proc/self/comm").write_text("headrace-worker")
    record = MountRecord.from_json(order.fields["record"])
    mount_directory(record.key).mkdir(mode=0o700, parents=True, exist_ok=True)
    if is_mounter():
        log_to_stderr(f"worker of {record.key[:8]}")
    else:
        _redirect_output(log_path(record.key))
        log_to_stderr("worker")
    connection, supervisor = order.descriptors
    return serve(record, connection, socket.socket(fileno=supervisor))


def _become_asker(order: Message) -> int:
    """Ask object storage about a dataset, for as long as somebody waits for the answer."""
    signal.alarm(RESOLVE_SECONDS)
    Path("/proc/self/comm").write_text("headrace-asker")
    log_to_stderr("asker")
    (descriptor,) = order.descriptors
    with socket.socket(fileno=descriptor) as asked:
        try:
            request = ResolveRequest.from_fields(order.fields["request"])
            answer = Message("resolved", resolve(request, mounter_cache()).fields())
        except HeadraceError as error:
            answer = wire.failure(error)
        except Exception as error:
            log.exception("a dataset could not be looked up")
            answer = wire.failure(error)
        wire.send(asked, answer)
    return 0


def _become_prefetcher(order: Message) -> int:
    """Fetch files of a mount ahead of whoever reads them.

    The first descriptor is only kept: by its end the supervisor knows that this process is gone.
    """
    Path("/proc/self/comm").write_text("headrace-fetch")
    log_to_stderr("prefetch")
    obey(order.fields, order.descriptors[1:])
    return 0


_ROLES: Final[Mapping[str, Callable[[Message], int]]] = {
    "fork": _become_worker,
    "resolve": _become_asker,
    "prefetch": _become_prefetcher,
}


def _close_input() -> None:
    """Let go of the supervisor's orders, which are the zygote's alone."""
    nowhere = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    os.dup2(nowhere, 0)
    os.close(nowhere)


def _redirect_output(path: Path) -> None:
    """Let what this process says go into the log at *path*."""
    output = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)


if __name__ == "__main__":
    main()
