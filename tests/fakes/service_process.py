"""Real cache services that start in a moment: forks of a process that has imported everything."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial

import anyio

from cachesvc.config import CacheConfig
from cachesvc.errors import CacheBusyError, HeadraceError
from cachesvc.lock import ServiceLock
from cachesvc.service import CacheService
from cachesvc.spawn import config_from_json, config_to_json
from cachesvc.unixsocket import is_answered


class ServiceZygote:
    """Starts services on request, and knows the last one's process id."""

    def __init__(self, config: CacheConfig, process: subprocess.Popen[str]) -> None:
        self.config = config
        self.pid = 0
        self.starts = 0
        self._process = process

    def ensure(self) -> None:
        """Start a service unless one answers; blocking, as `ensure_service` is."""
        if is_answered(self.config.socket):
            return
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(config_to_json(self.config) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        assert answer["word"] == "ready", answer
        self.pid = answer["pid"]
        self.starts += 1

    async def ensure_async(self) -> None:
        """Start a service unless one answers, as a client wants it."""
        await anyio.to_thread.run_sync(self.ensure)

    def kill(self) -> None:
        """End the service without any warning."""
        os.kill(self.pid, signal.SIGKILL)

    def suspend(self) -> None:
        """Let the service hang."""
        os.kill(self.pid, signal.SIGSTOP)

    def wait(self) -> None:
        """Wait until the service, which was told to end, has let go of its directory."""
        _locked(self.config).close()


@contextmanager
def service_zygote(config: CacheConfig) -> Iterator[ServiceZygote]:
    """Services for one configuration; the last one is killed at the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.fakes.service_process"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    zygote = ServiceZygote(config, process)
    try:
        yield zygote
    finally:
        if zygote.pid:
            with suppress(ProcessLookupError):
                zygote.kill()
        process.communicate()


def main() -> None:
    """Fork a service for each configuration on standard input."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reader)
            _serve(config_from_json(line), writer)
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as pipe:
            word = pipe.readline().strip()
        sys.stdout.write(json.dumps({"pid": pid, "word": word}) + "\n")
        sys.stdout.flush()


def _serve(config: CacheConfig, writer: int) -> None:
    """Serve until killed or told to stop; say on *writer* how the start went."""

    def tell(word: str) -> None:
        os.write(writer, f"{word}\n".encode())
        os.close(writer)

    async def live(lock: ServiceLock) -> None:
        await CacheService(config, lock).run(partial(tell, "ready"))

    try:
        anyio.run(live, _locked(config), backend="asyncio")
    except HeadraceError as error:
        tell(f"{type(error).__name__}: {error}")


def _locked(config: CacheConfig) -> ServiceLock:
    """Take the lock; a process that was just killed may hold it for some microseconds more."""
    deadline = time.monotonic() + 10
    while True:
        try:
            return ServiceLock(config)
        except CacheBusyError:
            if time.monotonic() > deadline:
                raise


if __name__ == "__main__":
    main()
