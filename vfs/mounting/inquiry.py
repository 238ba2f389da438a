"""The supervisor's end of questions about datasets: each has a child of the zygote ask them."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import trio

from cachesvc.errors import DeadlineExceededError, HeadraceError
from vfs.mounting import wire
from vfs.mounting.forking import Zygote, ZygoteGoneError
from vfs.mounting.identity import own_environment, tenant_environment
from vfs.mounting.link import Link
from vfs.mounting.resolving import RESOLVE_SECONDS
from vfs.mounting.wire import Message

log = logging.getLogger(__name__)

MOST_AT_ONCE = 8
PAUSE_SECONDS = 0.2


class Inquiries:
    """Asks what datasets mean, so many questions at once, each within its time."""

    def __init__(self, zygote: Callable[[], Awaitable[Zygote]]) -> None:
        """Have children forked by what *zygote* returns."""
        self._zygote = zygote
        self._room = trio.CapacityLimiter(MOST_AT_ONCE)

    async def resolve(self, link: Link, message: Message) -> None:
        """Answer what a request for a dataset means, or why nobody can say."""
        message.close()
        answer = await self._answer(message.fields["request"])
        link.send(answer.kind, **answer.fields)

    async def _answer(self, request: Mapping[str, Any]) -> Message:
        given = request.get("environment")
        environment = own_environment() if given is None else tenant_environment(given)
        order = {**request, "environment": environment}
        try:
            with trio.fail_after(RESOLVE_SECONDS):
                async with self._room:
                    return await self._asked(order)
        except trio.TooSlowError:
            return wire.failure(
                DeadlineExceededError(
                    f"{request.get('source')}: object storage did not say within "
                    f"{RESOLVE_SECONDS} s what that is; it is asked again"
                )
            )
        except HeadraceError as error:
            return wire.failure(error)

    async def _asked(self, order: Mapping[str, Any]) -> Message:
        """Ask again when whoever was asking died."""
        while True:
            try:
                answer = await self._ask(order)
            except ZygoteGoneError as error:
                log.warning("%s", error)
            else:
                if answer is not None:
                    return answer
                log.warning("a process that looked up a dataset died")
            await trio.sleep(PAUSE_SECONDS)

    async def _ask(self, order: Mapping[str, Any]) -> Message | None:
        ours, theirs = wire.pair()
        link = Link(ours)
        try:
            with theirs:
                zygote = await self._zygote()
                await zygote.fork("resolve", (theirs.fileno(),), request=order)
            return await link.receive()
        finally:
            link.close()
