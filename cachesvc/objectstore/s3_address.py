"""Where an S3 origin's objects lie: bucket, prefix, URLs, proxies."""

from __future__ import annotations

import os
from dataclasses import dataclass
from urllib.parse import urlsplit

from cachesvc.errors import ObjectMissingError
from cachesvc.objectstore.keys import checked_key
from cachesvc.objectstore.origin import Origin


@dataclass(frozen=True, slots=True)
class S3Address:
    """One bucket and the prefix in it, below which an origin's keys lie."""

    root: str
    bucket: str
    prefix: str
    bucket_url: str

    @classmethod
    def of(cls, origin: Origin) -> S3Address:
        """Return the address of an S3 origin."""
        bucket, _, folder = origin.address.partition("/")
        endpoint = origin.options["endpoint_url"].rstrip("/")
        parts = urlsplit(endpoint)
        if origin.options["addressing_style"] == "virtual":
            url = f"{parts.scheme}://{bucket}.{parts.netloc}{parts.path}"
        else:
            url = f"{endpoint}/{bucket}"
        return cls(origin.root, bucket, f"{folder}/" if folder else "", url)

    def full_key(self, key: str) -> str:
        """Return the name in the bucket of the object that is called *key* below the root."""
        full = self.prefix + checked_key(key, self.root)
        try:
            full.encode()
        except UnicodeEncodeError:
            message = f"{self.place(ascii(key))}: S3 keys are UTF-8, so there is no such object"
            raise ObjectMissingError(message) from None
        return full

    def place(self, key: str) -> str:
        """Return what error messages call an object."""
        return f"{self.root}/{key}"


def is_reached_directly(address: S3Address) -> bool:
    """Tell whether the environment names no proxy for a bucket."""
    if not any(name.lower().endswith("_proxy") for name in os.environ):
        return True
    # Takes 12 ms to import, in each process that a mount waits for.
    from urllib.request import getproxies, proxy_bypass  # noqa: PLC0415

    url = urlsplit(address.bucket_url)
    proxies = getproxies()
    is_proxied = url.scheme in proxies or "all" in proxies
    return not is_proxied or bool(proxy_bypass(url.hostname or ""))


def unquoted(etag: str) -> str:
    """Return an etag as we keep it: without its quotes."""
    return etag.strip('"')


def quoted(version: str) -> str:
    """Return an etag as HTTP wants it."""
    return f'"{version}"'
