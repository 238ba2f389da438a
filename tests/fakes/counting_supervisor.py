"""A supervisor that replaces workers at once, and says how many tasks it has at each SIGUSR1."""

from __future__ import annotations

import signal

import trio

from vfs.mounting import served, wire
from vfs.mounting.daemon import SUPERVISOR, lock
from vfs.mounting.supervisor import Supervisor

READY = "ready"


class TaskCount(trio.abc.Instrument):
    """How many tasks live."""

    living = 0

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        """Count one more."""
        self.living += 1

    def task_exited(self, task: trio.lowlevel.Task) -> None:
        """Count one less."""
        self.living -= 1


def say(word: object) -> None:
    """Write a line for whoever started this."""
    print(word, flush=True)


def main() -> None:
    """Supervise until nothing is mounted."""
    served.FIRST_BACKOFF_SECONDS = served.LONGEST_BACKOFF_SECONDS = 0.0
    count = TaskCount()
    signal.signal(signal.SIGUSR1, lambda *_: say(count.living))
    held = lock(SUPERVISOR)
    assert held is not None
    supervisor = Supervisor(wire.listen(SUPERVISOR.socket), held)
    trio.run(supervisor.run, lambda: say(READY), instruments=[count])


if __name__ == "__main__":
    main()
