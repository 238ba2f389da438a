"""The supervisor's end of `headrace prefetch`: a process that does it, with the mount's means."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from functools import partial
from typing import Any, Protocol

import trio

from vfs.mounting.keeping import HeldMount
from vfs.mounting.link import Link
from vfs.mounting.wire import Message


class Served(Protocol):
    """A mount that is served."""

    @property
    def mount(self) -> HeldMount:
        """The mount."""
        ...


async def order_prefetch(mounts: Mapping[str, Served], link: Link, message: Message) -> None:
    """Have a process fetch files of a mount, and stay until it is done or this is cancelled.

    Its reports go to whoever has the other end of the first descriptor; the second one, if there
    is one, is a list of names. It is a process of its own for the reasons that a switch is one.
    """
    served = mounts.get(message.fields["key"])
    if served is None:
        message.close()
        link.send("failed", error="the mount is gone; see 'headrace list'")
        return
    async with trio.open_nursery() as nursery:
        order = {"spec": served.mount.record.spec.to_json(), **message.fields}
        await nursery.start(partial(_run, order, message.descriptors))
        message.close()
        link.send("prefetching")


async def _run(
    order: Mapping[str, Any],
    descriptors: tuple[int, ...],
    task_status: trio.TaskStatus[object],
) -> None:
    """Run the process to its end; it says itself what goes wrong."""
    await trio.run_process(
        [sys.executable, "-P", "-m", "vfs.mounting.prefetcher", *map(str, descriptors)],
        stdin=json.dumps(order).encode(),
        pass_fds=descriptors,
        cwd="/",
        start_new_session=True,
        check=False,
        task_status=task_status,
    )
