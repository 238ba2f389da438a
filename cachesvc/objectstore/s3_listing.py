"""The fast S3 listing: signed by botocore, sent by aiohttp, parsed by expat.

CPU for 10,000 keys: 0.17 s here, 0.06 s in obstore, 0.9 s in s3fs. Not obstore's: it gives
up at the first key with a control character or with "//", and drops the last slash of "dir/".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import partial
from urllib.parse import quote, unquote_plus, urlsplit
from xml.etree import ElementTree as ET

import aiohttp
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.utils import get_environ_proxies
from yarl import URL

from cachesvc.errors import StoreError
from cachesvc.objectstore.moment import nanoseconds
from cachesvc.objectstore.origin import Origin
from cachesvc.objectstore.paging import Page, PagedListing
from cachesvc.objectstore.protocol import ObjectInfo
from cachesvc.objectstore.s3_address import S3Address, unquoted
from cachesvc.objectstore.s3_errors import Refusal, code_in, refused, unanswered

MAX_PAGE_SIZE = 32 << 20
"""Bytes of one answer: 1000 keys of 1024 bytes, each byte URL-encoded, are 3 MiB."""
TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=30)


class S3Listing:
    """Lists a bucket page by page, every key as the server has it."""

    def __init__(self, origin: Origin) -> None:
        """Remember whom to ask; connects at the first page."""
        self._address = S3Address.of(origin)
        self._signer = _signer(origin.options)
        self._session: aiohttp.ClientSession | None = None

    def list(self, prefix: str) -> PagedListing:
        """Return the objects whose key starts with *prefix*."""
        return PagedListing(partial(self._page, prefix))

    async def aclose(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def _page(self, prefix: str, continuation: str | None) -> Page:
        body = await self._ask(self._url(prefix, continuation))
        try:
            return parse_page(body, self._address.prefix)
        except (ET.ParseError, ValueError, KeyError) as exc:
            raise unanswered(self._address.root, f"malformed listing ({exc})") from exc

    def _url(self, prefix: str, continuation: str | None) -> str:
        query = {
            "continuation-token": continuation,
            "encoding-type": "url",
            "list-type": "2",
            "prefix": self._address.prefix + prefix,
        }
        words = (f"{name}={quote(value, safe='')}" for name, value in query.items() if value)
        return f"{self._address.bucket_url}?{'&'.join(words)}"

    async def _ask(self, url: str) -> bytes:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=TIMEOUT, auto_decompress=True)
        try:
            async with self._session.get(
                URL(url, encoded=True),
                headers=self._signed_headers(url),
                allow_redirects=False,
                proxy=get_environ_proxies(url).get(urlsplit(url).scheme),
            ) as response:
                body = await _bounded_body(response)
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            reason = str(exc) or type(exc).__name__
            raise unanswered(self._address.root, f"listing failed: {reason}") from exc
        if response.status != 200:
            raise self._refused(response.status, body)
        return body

    def _signed_headers(self, url: str) -> dict[str, str]:
        request = AWSRequest(method="GET", url=url)
        if self._signer is not None:
            self._signer.add_auth(request)
        return dict(request.headers.items())

    def _refused(self, status: int, body: bytes) -> StoreError:
        code = code_in(body.decode(errors="replace"))
        return refused(self._address.root, Refusal(status, code))


def _signer(options: Mapping[str, str]) -> S3SigV4Auth | None:
    if "key" not in options:
        return None
    credentials = Credentials(options["key"], options["secret"], options.get("token"))
    return S3SigV4Auth(credentials, "s3", options["region"])


async def _bounded_body(response: aiohttp.ClientResponse) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in response.content.iter_any():
        size += len(part)
        if size > MAX_PAGE_SIZE:
            raise aiohttp.ClientPayloadError("the answer has no end")
        parts.append(part)
    return b"".join(parts)


def parse_page(body: bytes, folder: str) -> Page:
    """Return the page that a ListObjectsV2 answer holds, keys relative to *folder*."""
    root = ET.fromstring(body)
    if not root.tag.endswith("ListBucketResult"):
        message = f"a {root.tag} where a ListBucketResult should be"
        raise ValueError(message)
    space = root.tag.removesuffix("ListBucketResult")
    encoded = root.findtext(f"{space}EncodingType") == "url"
    truncated = root.findtext(f"{space}IsTruncated") == "true"
    following = root.findtext(f"{space}NextContinuationToken") if truncated else None
    if truncated and not following:
        message = "more to come, and no token to ask for it"
        raise ValueError(message)
    return Page(list(_objects(root, space, folder, encoded=encoded)), following)


def _objects(root: ET.Element, space: str, folder: str, *, encoded: bool) -> Iterator[ObjectInfo]:
    for element in root.iterfind(f"{space}Contents"):
        fields = {child.tag: child.text or "" for child in element}
        key = fields[f"{space}Key"]
        key = unquote_plus(key, errors="surrogateescape") if encoded else key
        if not key.startswith(folder) or key == folder:
            continue  # the marker of the root itself
        yield ObjectInfo(
            key[len(folder) :],
            int(fields[f"{space}Size"]),
            unquoted(fields.get(f"{space}ETag", "")) or None,
            nanoseconds(datetime.fromisoformat(fields[f"{space}LastModified"])),
        )
