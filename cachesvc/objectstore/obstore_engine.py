"""The fast S3 engine: Rust's object_store, one attempt a request, every answer checked here."""

from __future__ import annotations

import atexit
import re
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from cachesvc.errors import StoreError
from cachesvc.objectstore.moment import nanoseconds
from cachesvc.objectstore.native_threads import let_native_threads_leave
from cachesvc.objectstore.origin import Origin
from cachesvc.objectstore.protocol import Body, Condition, IfAbsent, ObjectInfo
from cachesvc.objectstore.s3_address import S3Address, quoted, unquoted
from cachesvc.objectstore.s3_errors import (
    RangeAnswer,
    Refusal,
    check_range,
    code_in,
    refused,
    unanswered,
)

if TYPE_CHECKING:
    from obstore import GetOptions, GetResult, ObjectMeta, PutMode
    from obstore.store import S3Credential

    from cachesvc.objectstore.s3_listing import S3Listing
    from cachesvc.objectstore.s3fs_engine import S3fsStore

PART_SIZE = 16 << 20
PARTS_IN_FLIGHT = 4
READ_TIMEOUT = timedelta(seconds=30)
CONNECT_TIMEOUT = timedelta(seconds=10)
STATUS_PATTERN = re.compile(r"status code: (\d{3})")
WRONG_REGION = "redirect without LOCATION"
"""How obstore reports the 301 of a bucket that lies in another region."""
OBSTORE_ERRORS = (BaseError, OSError, ValueError)
"""What obstore raises: its own tree, FileNotFoundError for 404, ValueError for odd paths."""

atexit.register(let_native_threads_leave)


class ObstoreStore:
    """S3 objects below one prefix, by obstore.

    Keys that obstore cannot say (control characters, empty components, a slash at the end) go
    through s3fs; listings through `S3Listing`.
    """

    def __init__(self, origin: Origin) -> None:
        """Prepare the client; it connects at the first request."""
        self._origin = origin
        self._address = S3Address.of(origin)
        self._store = _client(self._address, origin)
        self._lister: S3Listing | None = None
        self._spare: S3fsStore | None = None

    @property
    def root(self) -> str:
        """The canonical URL of the prefix, endpoint included."""
        return self._address.root

    async def head(self, key: str) -> ObjectInfo:
        """Return what the server knows of one object."""
        full = self._address.full_key(key)
        if not is_sayable(full):
            return await self._other().head(key)
        try:
            meta = await obstore.head_async(self._store, full)
        except OBSTORE_ERRORS as exc:
            raise self._error(key, exc) from None
        return _info(key, meta)

    async def get(self, key: str) -> tuple[bytes, ObjectInfo]:
        """Return a small object whole, with the version of the bytes returned."""
        full = self._address.full_key(key)
        if not is_sayable(full):
            return await self._other().get(key)
        result, data = await self._fetch(key, full, {})
        if len(data) != result.meta["size"]:
            raise self._short(key, result.meta["size"], len(data))
        return bytes(data), _info(key, result.meta)

    async def get_range(self, key: str, start: int, stop: int, version: str | None) -> Body:
        """Return exactly the bytes `[start, stop)` of that version of the object."""
        full = self._address.full_key(key)
        if not is_sayable(full):
            return await self._other().get_range(key, start, stop, version)
        if start == stop:
            return b""
        options: GetOptions = {"range": (start, stop)}
        if version is not None:
            options["if_match"] = quoted(version)
        result, data = await self._fetch(key, full, options)
        answer = RangeAnswer(*result.range, result.meta["size"], _version(result.meta))
        check_range(self._address.place(key), answer, start, stop, version)
        if len(data) != stop - start:
            raise self._short(key, stop - start, len(data))
        return data

    def list(self, prefix: str = "") -> AsyncIterator[Sequence[ObjectInfo]]:
        """Yield batches of all objects whose key starts with *prefix*."""
        if self._lister is None:
            # aiohttp takes 0.25 s to import, which a mount, that never lists, need not pay.
            from cachesvc.objectstore.s3_listing import S3Listing  # noqa: PLC0415

            self._lister = S3Listing(self._origin)
        return self._lister.list(prefix)

    async def put(self, key: str, data: bytes) -> None:
        """Write a small object, whatever was there."""
        if is_sayable(self._address.full_key(key)):
            await self._put(key, data, "overwrite")
        else:
            await self._other().put(key, data)

    async def put_file(self, key: str, path: Path) -> None:
        """Upload a file, in parts when it is large; it appears when all parts are there."""
        full = self._address.full_key(key)
        if not is_sayable(full):
            return await self._other().put_file(key, path)
        try:
            await obstore.put_async(
                self._store, full, path, chunk_size=PART_SIZE, max_concurrency=PARTS_IN_FLIGHT
            )
        except OBSTORE_ERRORS as exc:
            raise self._error(key, exc, writing=True) from None

    async def put_if(self, key: str, data: bytes, condition: Condition) -> str:
        """Write a small object if *condition* holds, atomically; return its new version."""
        if not is_sayable(self._address.full_key(key)):
            return await self._other().put_if(key, data, condition)
        if isinstance(condition, IfAbsent):
            return await self._put(key, data, "create")
        return await self._put(key, data, {"e_tag": quoted(condition.version)})

    async def aclose(self) -> None:
        """Close what has connections of its own; obstore's close when they are collected."""
        for other in (self._lister, self._spare):
            if other is not None:
                await other.aclose()

    def _other(self) -> S3fsStore:
        if self._spare is None:
            # s3fs takes 0.4 s to import, and hardly any dataset has such keys.
            from cachesvc.objectstore.s3fs_engine import S3fsStore  # noqa: PLC0415

            self._spare = S3fsStore(self._origin)
        return self._spare

    async def _fetch(
        self, key: str, full: str, options: GetOptions
    ) -> tuple[GetResult, memoryview]:
        """Return an answer and its body, in the memory where obstore gathered it."""
        try:
            result = await obstore.get_async(self._store, full, options=options)
            return result, memoryview(await result.bytes_async())
        except OBSTORE_ERRORS as exc:
            raise self._error(key, exc) from None

    async def _put(self, key: str, data: bytes, mode: PutMode) -> str:
        full = self._address.full_key(key)
        try:
            result = await obstore.put_async(
                self._store, full, data, mode=mode, use_multipart=False
            )
        except OBSTORE_ERRORS as exc:
            raise self._error(key, exc, writing=True) from None
        return unquoted(result["e_tag"] or "")

    def _short(self, key: str, wanted: int, found: int) -> StoreError:
        return unanswered(self._address.place(key), f"sent {found} bytes of {wanted}")

    def _error(self, key: str, exc: Exception, *, writing: bool = False) -> StoreError:
        """Translate an error. Its text is dropped: it may quote the request's signed headers."""
        text = str(exc)
        status = STATUS_PATTERN.search(text)
        place = self._address.place(key)
        if WRONG_REGION in text:
            return refused(place, Refusal(301, "PermanentRedirect"))
        if status is None:
            return unanswered(place, _reason(text))
        return refused(place, Refusal(int(status[1]), code_in(text)), writing=writing)


def _client(address: S3Address, origin: Origin) -> S3Store:
    """Return obstore's client with every setting given that it would take from the environment."""
    anonymous = "key" not in origin.options
    return S3Store(
        address.bucket,
        endpoint=_endpoint(address, origin),
        region=origin.options["region"],
        virtual_hosted_style_request=origin.options["addressing_style"] == "virtual",
        skip_signature=anonymous,
        unsigned_payload=False,
        conditional_put="etag",
        credential_provider=None if anonymous else _Credentials(origin),
        client_options={
            "allow_http": True,
            "connect_timeout": CONNECT_TIMEOUT,
            "read_timeout": READ_TIMEOUT,
            # obstore's own limit on a whole request, 30 s, would cut slow but honest answers.
            "timeout": timedelta(days=1),
        },
        retry_config={"max_retries": 0, "retry_timeout": timedelta(days=1)},
    )


def _endpoint(address: S3Address, origin: Origin) -> str:
    # For virtual-hosted requests obstore wants the bucket in the endpoint, else it must not be.
    if origin.options["addressing_style"] == "virtual":
        return address.bucket_url
    return origin.options["endpoint_url"]


class _Credentials:
    """Hands over one origin's credentials.

    Given as plain settings they would be completed by this process's AWS_SESSION_TOKEN.
    """

    def __init__(self, origin: Origin) -> None:
        self._options = origin.options

    def __call__(self) -> S3Credential:
        return {
            "access_key_id": self._options["key"],
            "secret_access_key": self._options["secret"],
            "token": self._options.get("token"),
            "expires_at": None,
        }


def is_sayable(full_key: str) -> bool:
    """Tell whether obstore can name this key: its paths have no empty parts and no controls."""
    return "" not in full_key.split("/") and full_key.isprintable()


def _info(key: str, meta: ObjectMeta) -> ObjectInfo:
    return ObjectInfo(key, meta["size"], _version(meta), nanoseconds(meta["last_modified"]))


def _version(meta: ObjectMeta) -> str | None:
    return unquoted(meta["e_tag"] or "") or None


def _reason(text: str) -> str:
    """Return the first line of an obstore error: what happened, without the debug dump."""
    return (text.splitlines() or ["no reason given"])[0]
