"""The supervisor's end of `headrace prefetch`: has a process forked that does it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

import trio

from vfs.mounting import wire
from vfs.mounting.forking import Zygote, ZygoteFailedError, ZygoteGoneError
from vfs.mounting.keeping import HeldMount
from vfs.mounting.link import Link
from vfs.mounting.wire import Message

log = logging.getLogger(__name__)

HOLD_SECONDS = 1.0
"""How long a link may stay that nobody holds: the kernel closes it with the process."""


class Served(Protocol):
    """A mount that is served."""

    @property
    def mount(self) -> HeldMount:
        """The mount."""
        ...


async def order_prefetch(
    mounts: Mapping[str, Served],
    zygote: Callable[[], Awaitable[Zygote]],
    link: Link,
    message: Message,
) -> None:
    """Have a child of *zygote* fetch files of a mount; return when it is gone.

    Its reports go to whoever has the other end of the first descriptor; the second one, if there
    is one, is a list of names. It is a process of its own for the reasons that a switch is one, and
    goes on when this is cancelled: it works for whoever reads its reports, as long as the mount
    is there.
    """
    served = mounts.get(message.fields["key"])
    if served is None:
        message.close()
        link.send("failed", error="the mount is gone; see 'headrace list'")
        return
    order = {"spec": served.mount.record.spec.to_json(), **message.fields}
    try:
        child = await _fork(zygote, order, message.descriptors)
    except ZygoteFailedError as error:
        link.send("failed", error=str(error))
        return
    finally:
        message.close()
    link.send("prefetching")
    try:
        await child.receive()
    finally:
        child.close()


async def _fork(
    zygote: Callable[[], Awaitable[Zygote]],
    order: Mapping[str, object],
    descriptors: tuple[int, ...],
) -> Link:
    """Return a link to a child, which breaks when it ends. Raises ZygoteFailedError."""
    while True:
        ours, theirs = wire.pair()
        link = Link(ours)
        try:
            with theirs:
                await (await zygote()).fork("prefetch", (theirs.fileno(), *descriptors), **order)
        except ZygoteGoneError as error:
            log.warning("%s", error)
            if await _is_held(link):
                return link
            link.close()
        except BaseException:
            link.close()
            raise
        else:
            return link


async def _is_held(link: Link) -> bool:
    """Say whether a child was forked before the zygote died: two would share a list of names."""
    with trio.move_on_after(HOLD_SECONDS):
        return await link.receive() is not None
    return True
