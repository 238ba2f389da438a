"""The process that owns a mount: holds its connection and INIT, keeps workers serving it.

It reads no data and answers no request but INIT, so that there is little it could die of. When a
worker dies another takes over on the same connection, and the kernel repeats what was left
unanswered: for readers that is a pause, not an error.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial

import trio

from cachesvc.errors import HeadraceError, first_error
from cachesvc.logs import log_to_stderr
from vfs.errors import MountError
from vfs.mounting.mount import MountOptions, mount, set_read_ahead, unmount
from vfs.mounting.mountinfo import mounted_at
from vfs.mounting.spec import MountSpec
from vfs.mounting.state import MountState, forget_state, load_state, save_state
from vfs.mounting.status import say
from vfs.serving import protocol

log = logging.getLogger(__name__)

INIT_SECONDS = 10
WORKER_START_SECONDS = 60
FIRST_BACKOFF_SECONDS = 0.05
LONGEST_BACKOFF_SECONDS = 5.0
HEALTHY_SECONDS = 10
"""A worker that lived so long did not die of its start: the next one follows at once."""
MAX_READAHEAD = 64 << 20
"""Upper bound for the kernel's readahead; the mount's bdi sets the real figure."""

Ready = Callable[[], None]


class WorkerFailedError(MountError):
    """A worker ended before it could serve."""


class Supervisor:
    """One mount and its workers. Owns the connection's descriptor."""

    def __init__(self, spec: MountSpec) -> None:
        """Prepare to serve *spec*; nothing is mounted yet."""
        self._spec = spec
        self._connection = -1
        self._init = b""
        self._workers: dict[int, int] = {}
        self._state: MountState | None = None

    async def run(self, ready: Ready) -> None:
        """Mount, call *ready* once every worker serves, return when it is unmounted.

        Raises MountError, or whatever keeps the first workers from serving; nothing is left mounted
        then.
        """
        self._connection = mount(
            self._spec.mountpoint,
            MountOptions(f"headrace:{self._spec.source.root}", self._spec.allow_other),
        )
        try:
            await self._serve(ready)
        finally:
            os.close(self._connection)
            self._forget()

    def _forget(self) -> None:
        """Remove this mount's record; a mount that is at its place by now has one of its own.

        A mount lives on in other mount namespaces, so this may be long after it was taken off here.
        """
        there = load_state(self._spec.mountpoint)
        if there is None or there.supervisor == os.getpid():
            forget_state(self._spec.mountpoint)

    async def _serve(self, ready: Ready) -> None:
        try:
            with trio.fail_after(INIT_SECONDS):
                self._init = await self._answer_init()
            self._record_mount()
            async with trio.open_nursery() as nursery:
                await nursery.start(self._unmount_on_signal)
                async with trio.open_nursery() as slots:
                    for slot in range(self._spec.worker_count):
                        await slots.start(self._keep_worker, slot)
                    ready()
                nursery.cancel_scope.cancel()
        except BaseException:
            self._detach()
            raise

    async def _answer_init(self) -> bytes:
        await trio.lowlevel.wait_readable(self._connection)
        init = os.read(self._connection, protocol.REQUEST_BUFFER_SIZE)
        os.write(self._connection, protocol.init_reply(init, MAX_READAHEAD))
        return init

    def _record_mount(self) -> None:
        spec = self._spec
        info = mounted_at(spec.mountpoint)
        if info is None:
            raise MountError(f"{spec.mountpoint} was unmounted before it could be served")
        if not set_read_ahead(info, spec.read_ahead_kib):
            log.info("only root may set read_ahead_kb; it stays at the kernel's default")
        self._state = MountState(
            mountpoint=str(spec.mountpoint),
            source=spec.source.root,
            repository=spec.repository.root,
            ref=spec.ref,
            snapshots=(spec.snapshot_id,),
            connection=info.minor,
            cache_directory=str(spec.cache.directory),
            supervisor=os.getpid(),
        )
        save_state(self._state)

    async def _keep_worker(
        self, slot: int, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Keep one worker alive until it says that the file system is unmounted."""
        backoff = FIRST_BACKOFF_SECONDS
        first = True
        while True:
            born = trio.current_time()
            try:
                process = await self._start_worker(slot)
            except HeadraceError as error:
                if first:
                    raise
                log.error("worker %d does not start: %s", slot, error)
            else:
                if first:
                    task_status.started()
                    first = False
                else:
                    self._resend()
                if await process.wait() == 0:
                    return
                log.warning(
                    "worker %d (pid %d) died: exit %s", slot, process.pid, process.returncode
                )
            if trio.current_time() - born > HEALTHY_SECONDS:
                backoff = FIRST_BACKOFF_SECONDS
            await trio.sleep(backoff)
            backoff = min(2 * backoff, LONGEST_BACKOFF_SECONDS)

    async def _start_worker(self, slot: int) -> trio.Process:
        """Start a worker and wait until it serves. Raises WorkerFailedError."""
        process = await trio.lowlevel.open_process(
            [sys.executable, "-m", "vfs.mounting.worker", str(self._connection)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[self._connection],
            start_new_session=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            with trio.fail_after(WORKER_START_SECONDS):
                await process.stdin.send_all(worker_order(self._spec, self._init))
                await process.stdin.aclose()
                answer = await process.stdout.receive_some(65536)
        except (trio.TooSlowError, trio.BrokenResourceError) as error:
            process.kill()
            raise WorkerFailedError(
                f"a worker of {self._spec.mountpoint} does not start"
            ) from error
        status = json.loads(answer or b'{"error": "it died; see the log"}')
        if "error" in status:
            raise WorkerFailedError(status["error"])
        self._workers[slot] = process.pid
        self._record_workers()
        return process

    def _record_workers(self) -> None:
        assert self._state is not None
        pids = tuple(self._workers[slot] for slot in sorted(self._workers))
        self._state = self._state.with_workers(pids)
        save_state(self._state)

    def _resend(self) -> None:
        """Have the kernel repeat what the dead worker left unanswered."""
        try:
            os.write(self._connection, protocol.resend_notification())
        except OSError as error:
            log.error("the kernel does not repeat requests (%s): those in flight wait", error)

    async def _unmount_on_signal(
        self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            task_status.started()
            async for _ in signals:
                await trio.to_thread.run_sync(self._detach)

    def _detach(self) -> None:
        """Unmount lazily: who is inside may finish, and the connection ends with the last."""
        try:
            unmount(self._spec.mountpoint, lazy=True)
        except MountError as error:
            log.info("%s", error)


def worker_order(spec: MountSpec, init: bytes) -> bytes:
    """Return what a worker reads from its standard input: its spec and the INIT to replay."""
    return json.dumps({"spec": spec.to_json(), "init": init.hex()}).encode()


def main() -> None:
    """Serve the spec on standard input; say on standard output when it is ready or why not."""
    log_to_stderr("supervisor")
    order = sys.stdin.read()
    if not order:  # whoever started it has nothing to mount after all
        return
    spec = MountSpec.from_json(order)
    try:
        trio.run(Supervisor(spec).run, partial(say, {"ready": True}))
    except* HeadraceError as group:
        say({"error": str(first_error(group))})
        sys.exit(1)


if __name__ == "__main__":
    main()
