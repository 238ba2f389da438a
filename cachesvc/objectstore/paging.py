"""Listings that can be taken up again: a page that failed is asked for once more, not the whole."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from cachesvc.objectstore.protocol import ObjectInfo


@dataclass(frozen=True, slots=True)
class Page:
    """One answer of a listing; `following` asks for the next, None says that it was the last."""

    objects: Sequence[ObjectInfo]
    following: str | None


class PagedListing:
    """An asynchronous iterator over a listing's batches.

    When a step fails, the next step asks for the same page again. (A generator would be finished,
    and stepping it once more would pass for the listing's end.)
    """

    def __init__(self, fetch: Callable[[str | None], Awaitable[Page]]) -> None:
        """Make the listing that begins with the page `fetch(None)`."""
        self._fetch = fetch
        self._following: str | None = None
        self._finished = False

    def __aiter__(self) -> PagedListing:
        """Return the listing itself: it is walked once."""
        return self

    async def __anext__(self) -> Sequence[ObjectInfo]:
        """Return the next batch that is not empty."""
        while not self._finished:
            page = await self._fetch(self._following)
            self._following = page.following
            self._finished = page.following is None
            if page.objects:
                return page.objects
        raise StopAsyncIteration
