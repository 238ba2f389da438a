"""Puts a local directory into a bucket, as its owner's own tools would have done."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import obstore
from obstore.store import S3Store

UPLOADS_AT_ONCE = 16


def bucket_store(url: str, environ: Mapping[str, str]) -> S3Store:
    """Open the bucket's *url*. *environ* holds the AWS variables: where the server is, who asks."""
    return S3Store.from_url(
        url,
        endpoint=environ["AWS_ENDPOINT_URL"],
        region=environ["AWS_REGION"],
        access_key_id=environ["AWS_ACCESS_KEY_ID"],
        secret_access_key=environ["AWS_SECRET_ACCESS_KEY"],
        client_options={"allow_http": True},
    )


def upload(directory: Path, paths: Iterable[str], url: str, environ: Mapping[str, str]) -> None:
    """Copy *paths* below *directory* to the same names below the bucket's *url*."""
    store = bucket_store(url, environ)
    with ThreadPoolExecutor(UPLOADS_AT_ONCE) as threads:
        list(threads.map(lambda path: obstore.put(store, path, directory / path), paths))
