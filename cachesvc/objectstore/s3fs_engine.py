"""The reference S3 engine: s3fs, with its own retries off and every answer checked here."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import s3fs
from aiobotocore.session import AioSession
from botocore.exceptions import BotoCoreError, ClientError

from cachesvc.errors import ConditionFailedError, ObjectMissingError, StoreError
from cachesvc.objectstore.fsspec_options import decoded
from cachesvc.objectstore.moment import nanoseconds
from cachesvc.objectstore.origin import Origin
from cachesvc.objectstore.paging import Page, PagedListing
from cachesvc.objectstore.protocol import Condition, IfAbsent, ObjectInfo
from cachesvc.objectstore.s3_address import S3Address, quoted, unquoted
from cachesvc.objectstore.s3_errors import RangeAnswer, Refusal, check_range, refused, unanswered

# What s3fs offers to asyncio programs are its underscored methods.
# ruff: noqa: SLF001

CONTENT_RANGE_PATTERN = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
POOL_SIZE = 128
"""Connections. With botocore's 10, 64 tasks get 271 objects a second and not 1268."""
PART_SIZE = 16 << 20
PARTS_IN_FLIGHT = 4
NOTHING = (None, None, None, None)
ERRORS = (BotoCoreError, ClientError, aiohttp.ClientError, OSError, TimeoutError, ValueError)
"""What s3fs raises: OSErrors that it makes of ClientErrors, and what it lets through."""


class S3fsStore:
    """S3 objects below one prefix, by s3fs."""

    def __init__(self, origin: Origin) -> None:
        """Prepare the client; it connects at the first request."""
        self._address = S3Address.of(origin)
        self._fs = _filesystem(origin)

    @property
    def root(self) -> str:
        """The canonical URL of the prefix, endpoint included."""
        return self._address.root

    async def head(self, key: str) -> ObjectInfo:
        """Return what the server knows of one object."""
        return _info(key, await self._call(key, "head_object", {}))

    async def get(self, key: str) -> tuple[bytes, ObjectInfo]:
        """Return a small object whole, with the version of the bytes returned."""
        answer = await self._call(key, "get_object", {})
        data = await self._body(key, answer)
        if len(data) != answer["ContentLength"]:
            raise self._wrong(key, f"sent {len(data)} bytes of {answer['ContentLength']}")
        return data, _info(key, answer)

    async def get_range(self, key: str, start: int, stop: int, version: str | None) -> bytes:
        """Return exactly the bytes `[start, stop)` of that version of the object."""
        if start == stop:
            self._address.full_key(key)
            return b""
        headers = {"Range": f"bytes={start}-{stop - 1}"}
        if version is not None:
            headers["IfMatch"] = quoted(version)
        answer = await self._call(key, "get_object", headers)
        try:
            check_range(self._address.place(key), _range_of(answer), start, stop, version)
        except StoreError:
            answer["Body"].close()  # unread: an ignored Range would bring the whole object
            raise
        data = await self._body(key, answer)
        if len(data) != stop - start:
            raise self._wrong(key, f"sent {len(data)} bytes of {stop - start}")
        return data

    def list(self, prefix: str = "") -> AsyncIterator[Sequence[ObjectInfo]]:
        """Yield batches of all objects whose key starts with *prefix*."""
        return PagedListing(partial(self._page, prefix))

    async def put(self, key: str, data: bytes) -> None:
        """Write a small object, whatever was there."""
        await self._call(key, "put_object", {"Body": data}, writing=True)

    async def put_file(self, key: str, path: Path) -> None:
        """Upload a file, in parts when it is large; it appears when all parts are there."""
        target = f"{self._address.bucket}/{self._address.full_key(key)}"
        try:
            await self._fs._put_file(
                str(path), target, chunksize=PART_SIZE, max_concurrency=PARTS_IN_FLIGHT
            )
        except ERRORS as exc:
            raise self._error(key, exc, writing=True) from None

    async def put_if(self, key: str, data: bytes, condition: Condition) -> str:
        """Write a small object if *condition* holds, atomically; return its new version."""
        if isinstance(condition, IfAbsent):
            header = {"IfNoneMatch": "*"}
        else:
            header = {"IfMatch": quoted(condition.version)}
        try:
            answer = await self._call(key, "put_object", {"Body": data, **header}, writing=True)
        except ConditionFailedError:
            version = await self._version_if_equal(key, data)
            if version is None:
                raise
            return version
        return unquoted(answer.get("ETag", ""))

    async def _version_if_equal(self, key: str, data: bytes) -> str | None:
        """Return the object's version if it holds *data*: then it is we who wrote it.

        When a connection that was used before breaks, aiohttp sends the PUT a second time by
        itself, and that one is refused because the first was done.
        """
        try:
            found, info = await self.get(key)
        except ObjectMissingError:
            return None
        return info.version if found == data else None

    async def aclose(self) -> None:
        """Close the connections."""
        if self._fs._s3 is not None:
            await self._fs._s3.close()

    async def _call(
        self, key: str, method: str, arguments: Mapping[str, object], *, writing: bool = False
    ) -> dict[str, Any]:
        full = self._address.full_key(key)
        return await self._ask(key, method, {"Key": full, **arguments}, writing=writing)

    async def _ask(
        self, key: str, method: str, arguments: Mapping[str, object], *, writing: bool = False
    ) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = await self._fs._call_s3(
                method, Bucket=self._address.bucket, **arguments
            )
        except ERRORS as exc:
            raise self._error(key, exc, writing=writing) from None
        return answer

    async def _body(self, key: str, answer: dict[str, Any]) -> bytes:
        try:
            async with answer["Body"] as stream:
                data: bytes = await stream.read()
        except ERRORS as exc:
            raise self._error(key, exc) from None
        return data

    async def _page(self, prefix: str, continuation: str | None) -> Page:
        token = {} if continuation is None else {"ContinuationToken": continuation}
        folder = self._address.prefix
        answer = await self._ask("", "list_objects_v2", {"Prefix": folder + prefix, **token})
        found = [
            _info(entry["Key"][len(folder) :], entry)
            for entry in answer.get("Contents", [])
            if entry["Key"] != folder
        ]
        return Page(found, answer.get("NextContinuationToken"))

    def _wrong(self, key: str, reason: str) -> StoreError:
        return unanswered(self._address.place(key), reason)

    def _error(self, key: str, exc: BaseException, *, writing: bool = False) -> StoreError:
        """Translate an error. Its text is dropped where it may quote the request's headers."""
        place = self._address.place(key)
        response = _response_of(exc)
        if response is None:
            return unanswered(place, str(exc) or type(exc).__name__)
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
        code = str(response.get("Error", {}).get("Code", ""))
        refusal = Refusal(status, "" if code.isdigit() else code)
        return refused(place, refusal, writing=writing)


def _filesystem(origin: Origin) -> Any:  # noqa: ANN401 - s3fs is untyped
    options = origin.options
    given = {name: options.get(name) for name in ("key", "secret", "token")}
    free = decoded(origin.free_options)
    config = {
        "retries": {"total_max_attempts": 1},
        "connect_timeout": 10,
        "read_timeout": 30,
        "max_pool_connections": POOL_SIZE,
        "s3": {"addressing_style": options["addressing_style"]},
        # Trailing checksums, botocore's default, are more than many S3 servers understand.
        "request_checksum_calculation": "when_required",
        "response_checksum_validation": "when_required",
        **free.pop("config_kwargs", {}),
    }
    client = {"region_name": options["region"], **free.pop("client_kwargs", {})}
    filesystem = s3fs.S3FileSystem(
        anon="key" not in options,
        endpoint_url=options["endpoint_url"],
        session=_session_without_environment(),
        config_kwargs=config,
        client_kwargs=client,
        asynchronous=True,
        skip_instance_cache=True,
        use_listings_cache=False,
        **given,
        **free,
    )
    filesystem.retries = 1
    return filesystem


def _session_without_environment() -> AioSession:
    """Return a session that reads neither AWS_PROFILE nor ~/.aws: they are not the mount's."""
    nowhere = (None, None, os.devnull, None)
    return AioSession(
        session_vars={"profile": NOTHING, "config_file": nowhere, "credentials_file": nowhere}
    )


def _response_of(exc: BaseException) -> dict[str, Any] | None:
    """Return S3's answer behind an error, which s3fs may have wrapped in an OSError."""
    for each in (exc, exc.__cause__):
        if isinstance(each, ClientError):
            return dict(each.response)
    return None


def _range_of(answer: Mapping[str, Any]) -> RangeAnswer:
    version = unquoted(answer.get("ETag", "")) or None
    sent = CONTENT_RANGE_PATTERN.fullmatch(answer.get("ContentRange", ""))
    if sent is None:
        size = int(answer["ContentLength"])
        return RangeAnswer(0, size, size, version)
    return RangeAnswer(int(sent[1]), int(sent[2]) + 1, int(sent[3]), version)


def _info(key: str, answer: dict[str, Any]) -> ObjectInfo:
    size = answer["Size"] if "Size" in answer else answer["ContentLength"]
    version = unquoted(answer.get("ETag", "")) or None
    return ObjectInfo(key, size, version, nanoseconds(answer["LastModified"]))
