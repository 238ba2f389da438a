"""A dataset: where its files lie, and where its snapshots do."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from cachesvc.objectstore.open import open_store
from cachesvc.objectstore.origin import Origin, child_origin, parse_origin
from cachesvc.objectstore.protocol import ObjectStore
from cachesvc.objectstore.retry import RetryingStore, RetryPolicy

DEFAULT_REPOSITORY = ".headrace"
DEFAULT_REF = "main"

SNAPSHOT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
USER_INFO_SCHEMES = frozenset({"http", "https", "ftp", "ftps", "sftp", "ssh", "smb", "webdav"})


@dataclass(frozen=True, slots=True)
class Dataset:
    """A source, the repository of its snapshots, and the snapshot that was asked for, if any."""

    source: Origin
    repository: Origin
    snapshot: str | None

    @property
    def snapshot_or_default(self) -> str:
        """The name of the snapshot to show."""
        return self.snapshot or DEFAULT_REF


@dataclass(frozen=True, slots=True, repr=False)
class DatasetRequest:
    """A dataset in the words of the person who asked for it; `options` may hold secrets.

    It can be resolved again where that person's environment is at hand, when credentials expired.
    """

    source: str
    repository: str | None
    options: Mapping[str, str]

    def resolve(self) -> Dataset:
        """Return the dataset with the settings and credentials that hold now."""
        return parse_dataset(self.source, self.repository, self.options)


def parse_dataset(source: str, repository: str | None, options: Mapping[str, str]) -> Dataset:
    """Resolve `SOURCE[@SNAPSHOT]`, settings and credentials included.

    The options hold for the repository too, if it lies in the same kind of store.
    """
    place, snapshot = split_source_ref(source)
    origin = parse_origin(place, options)
    if repository is None:
        return Dataset(origin, child_origin(origin, DEFAULT_REPOSITORY), snapshot)
    same_kind = protocol_of(place) == protocol_of(repository)
    return Dataset(origin, parse_origin(repository, options if same_kind else {}), snapshot)


def protocol_of(place: str) -> str:
    """Return a URL's scheme; that of a plain path is "file"."""
    scheme, separator, _ = place.partition("://")
    return scheme.lower() if separator else "file"


def split_source_ref(source: str) -> tuple[str, str | None]:
    """Split `s3://bucket/data@v3` into source and snapshot name, None where there is no name.

    A local path that exists wins, so that a directory `run@3` can be named; `./run@3@main` names a
    snapshot of it.
    """
    place, at, name = source.rpartition("@")
    if not at or not place or not SNAPSHOT_NAME.fullmatch(name) or os.path.lexists(source):
        return source, None
    scheme, separator, rest = place.partition("://")
    if separator and scheme in USER_INFO_SCHEMES and "/" not in rest:
        return source, None
    return place, name


@asynccontextmanager
async def opened(origin: Origin, policy: RetryPolicy | None = None) -> AsyncIterator[ObjectStore]:
    """Open the store of *origin*, retries and deadlines included, for the length of a block."""
    store = open_store(origin)
    try:
        yield RetryingStore(store, policy or RetryPolicy())
    finally:
        await store.aclose()
