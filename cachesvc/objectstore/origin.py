"""Origins: where objects lie and as whom to ask. Knows URLs and settings; opens nothing."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from urllib.parse import quote, unquote, urlsplit

from cachesvc.errors import UsageError
from cachesvc.objectstore.aws import resolve_s3_options
from cachesvc.objectstore.keys import checked_key

NOTHING: Mapping[str, str] = MappingProxyType({})
ENGINES = ("auto", "direct", "fsspec", "obstore")
ONLY_S3 = frozenset({"direct", "obstore"})
"""Engines that serve nothing else."""
S3_OPTIONS = frozenset(
    {"endpoint_url", "region", "key", "secret", "token", "anon", "addressing_style"}
)
PUBLIC_OPTIONS = frozenset({"endpoint_url", "region", "anon", "addressing_style", "engine"})
"""Options whose values may be shown; every other one may hold a secret."""
CREDENTIAL_OPTIONS = frozenset(
    {
        "key",
        "secret",
        "token",
        "password",
        "account_key",
        "sas_token",
        "client_secret",
        "credential",
    }
)
"""Options that say who asks and never where: objects keep their identity when these change."""
PROTOCOL_ALIASES = {"local": "file", "s3a": "s3", "gcs": "gs"}
URL_PATTERN = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True, repr=False)
class Origin:
    """A place that holds objects, with everything that is needed to ask for them.

    Made by `parse_origin` where the person is, so that whoever opens it needs neither that person's
    environment nor their files. `options` may hold secrets: neither `repr` nor `root` shows them.
    """

    url: str
    options: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def protocol(self) -> str:
        """The URL's scheme: "file", "s3", ..."""
        return self.url.partition("://")[0]

    @property
    def address(self) -> str:
        """What follows the scheme: an absolute path, or a bucket and a prefix."""
        return self.url.partition("://")[2]

    @property
    def root(self) -> str:
        """The canonical identity of the place, endpoint included, without credentials."""
        url = f"s3://{self._endpoint_place()}/{self.address}" if self.protocol == "s3" else self.url
        return url + _fingerprint(self.free_options)

    @property
    def engine(self) -> str:
        """Which engine the person asked for: "auto" if they did not."""
        return self.options.get("engine", "auto")

    @property
    def free_options(self) -> dict[str, str]:
        """The options that mean nothing to us and are for fsspec."""
        ours = {"engine", *S3_OPTIONS} if self.protocol == "s3" else {"engine"}
        return {name: value for name, value in self.options.items() if name not in ours}

    def _endpoint_place(self) -> str:
        endpoint = urlsplit(self.options["endpoint_url"])
        default_port = 443 if endpoint.scheme == "https" else None
        # http keeps its port even when it is 80, so that it is never taken for https on that host.
        port = endpoint.port or (443 if endpoint.scheme == "https" else 80)
        host = endpoint.hostname or ""
        host = f"[{host}]" if ":" in host else host
        return host + ("" if port == default_port else f":{port}") + endpoint.path.rstrip("/")

    def to_wire(self) -> dict[str, object]:
        """Return plain ASCII values that any serialiser takes. They hold the credentials."""
        return {
            "url": quote(self.url, safe="/:", errors="surrogateescape"),
            "options": dict(self.options),
        }

    @classmethod
    def from_wire(cls, wire: Mapping[str, object]) -> Origin:
        """Return the origin that `to_wire` described; raises UsageError for anything else."""
        match wire:
            case {"url": str(url), "options": Mapping() as options} if all(
                isinstance(each, str) for pair in options.items() for each in pair
            ):
                return cls(unquote(url, errors="surrogateescape"), dict(options))
            case _:
                message = "malformed origin"
                raise UsageError(message)

    def __repr__(self) -> str:
        """Show the URL and the harmless options; of the others only that they are there."""
        shown = {
            name: value if name in PUBLIC_OPTIONS else "***" for name, value in self.options.items()
        }
        return f"Origin({self.url!r}, {shown!r})"


def parse_origin(
    source: str,
    storage_options: Mapping[str, str] = NOTHING,
    environ: Mapping[str, str] = os.environ,
) -> Origin:
    """Return the origin that a person means by *source*: a plain path or a URL.

    For S3 the AWS settings are resolved here and now, from *storage_options*, *environ* and the
    files that it points to, in this order. Raises UsageError for what makes no sense.
    """
    protocol, address = _split(source)
    _check_engine(protocol, storage_options)
    if protocol == "file":
        return _local_origin(address, storage_options)
    _check_address(protocol, address)
    url = f"{protocol}://{address.rstrip('/')}"
    if protocol != "s3":
        return Origin(url, dict(storage_options))
    bucket = address.partition("/")[0]
    return Origin(url, resolve_s3_options(bucket, storage_options, environ))


def child_origin(origin: Origin, relative: str) -> Origin:
    """Return the origin *relative* below *origin*, asked with the same settings."""
    key = checked_key(relative.rstrip("/"), origin.root)
    return Origin(f"{origin.url.rstrip('/')}/{key}", origin.options)


def _split(source: str) -> tuple[str, str]:
    if "::" in source.partition("://")[0] and "://" in source:
        message = f"{source}: chained URLs are not supported"
        raise UsageError(message)
    matched = URL_PATTERN.fullmatch(source)
    if matched is None:
        return "file", source.removeprefix("file:")
    protocol = matched[1].lower()
    return PROTOCOL_ALIASES.get(protocol, protocol), matched[2]


def _local_origin(path: str, options: Mapping[str, str]) -> Origin:
    unknown = sorted(set(options) - {"engine"})
    if unknown:
        message = f"storage option {unknown[0]}: a local directory takes none"
        raise UsageError(message)
    if not path:
        message = "the source is an empty path"
        raise UsageError(message)
    return Origin(f"file://{os.path.realpath(path)}", dict(options))


def _check_engine(protocol: str, options: Mapping[str, str]) -> None:
    engine = options.get("engine", "auto")
    if engine not in ENGINES:
        message = f"storage option engine: {engine!r} is none of {', '.join(ENGINES)}"
        raise UsageError(message)
    if engine in ONLY_S3 and protocol != "s3":
        message = f"storage option engine: {engine} serves s3:// only, not {protocol}://"
        raise UsageError(message)
    foreign = sorted(set(options) - S3_OPTIONS - {"engine", "profile"})
    if engine in ONLY_S3 and foreign:
        message = f"storage option {foreign[0]}: only the engine fsspec knows it"
        raise UsageError(message)


def _check_address(protocol: str, address: str) -> None:
    host, _, rest = address.partition("/")
    user, at, _ = host.rpartition("@")
    if (protocol == "s3" and at) or ":" in user:
        message = f"{protocol}://: credentials in a URL are not accepted, give them as settings"
        raise UsageError(message)
    if not host and (protocol == "s3" or not rest.strip("/")):
        message = f"{protocol}://: the URL names no bucket or host"
        raise UsageError(message)
    if rest.strip("/"):
        checked_key(rest.strip("/"), f"{protocol}://{host}")


def _fingerprint(options: Mapping[str, str]) -> str:
    """Return a suffix that tells apart places which differ only in options of their engine."""
    placing = sorted(
        (name, value) for name, value in options.items() if name not in CREDENTIAL_OPTIONS
    )
    if not placing:
        return ""
    digest = hashlib.blake2b(repr(placing).encode("utf-8", "surrogateescape"), digest_size=8)
    return f"#{digest.hexdigest()}"
