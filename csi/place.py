"""Where a dataset lies, written in one way only, so that no other spelling slips past a rule.

Knows the shape of URLs. Does not know who may use which; that is `csi/policy.py`.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

from csi.errors import InvalidArgumentError

ALIASES = {"s3a": "s3", "gcs": "gs", "local": "file"}
BUCKETS = frozenset({"s3", "gs", "az"})
"""Schemes whose URL begins with a bucket: no user, no port."""
DEFAULT_PORTS = {"http": ":80", "https": ":443"}
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.+)")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?")
_CONTAINER_AT_ACCOUNT = re.compile(r"[A-Za-z0-9._-]+@[A-Za-z0-9.-]+")
"""As abfs has it."""


def split_name(text: str) -> tuple[str, str | None]:
    """Split `s3://bucket/data@v3` into place and snapshot name, None where there is no name.

    Before the first slash of other URLs an @ parts user and host.
    """
    place, at, name = text.rpartition("@")
    if not at or not _NAME.fullmatch(name):
        return text, None
    url = _URL.fullmatch(place)
    if url is not None and "/" not in url[2] and _scheme(url[1]) not in BUCKETS:
        return text, None
    return place, name


def is_name(text: str) -> bool:
    """Whether *text* can be the name of a ref or a snapshot."""
    return _NAME.fullmatch(text) is not None


def canonical_place(text: str) -> str:
    """Return *text*, a URL or an absolute path, in the one spelling that rules are made for.

    Raises InvalidArgumentError for what has no such spelling, and for URLs with credentials; these
    are not repeated in the message.
    """
    scheme, address = _split(text)
    if scheme != "file":
        _check_authority(scheme, address.partition("/")[0])
    elif not address.startswith("/"):
        raise InvalidArgumentError(f"{text!r} is no absolute path")
    _check_parts(text, address)
    return f"{scheme}://{address.rstrip('/')}"


def canonical_endpoint(url: str) -> str:
    """Return the URL of an endpoint in one spelling: small letters, no port that goes without."""
    scheme, address = _split(url)
    authority, slash, path = address.partition("/")
    authority = authority.lower().removesuffix(DEFAULT_PORTS.get(scheme, "/"))
    return canonical_place(f"{scheme}://{authority}{slash}{path}")


def scheme_of(place: str) -> str:
    """Return the scheme of a canonical place."""
    return place.partition("://")[0]


def _split(text: str) -> tuple[str, str]:
    if text.startswith("/"):
        return "file", text
    matched = _URL.fullmatch(text)
    if matched is None:
        raise InvalidArgumentError(f"{text!r} is no dataset; write s3://bucket/prefix")
    return _scheme(matched[1]), matched[2]


def _scheme(word: str) -> str:
    return ALIASES.get(word.lower(), word.lower())


def _check_authority(scheme: str, authority: str) -> None:
    """Refuse what is neither bucket nor host; it may be a password, so it is not repeated."""
    pattern = _BUCKET if scheme in BUCKETS else _HOST
    if pattern.fullmatch(authority):
        return
    if not (scheme in {"abfs", "abfss"} and _CONTAINER_AT_ACCOUNT.fullmatch(authority)):
        raise InvalidArgumentError(
            "a dataset's URL names a bucket or a host and carries no credentials; "
            "give those by nodePublishSecretRef"
        )


def _check_parts(text: str, address: str) -> None:
    """Refuse what somebody further down may read as another place.

    Some clients resolve `..` and its encoded forms, fsspec takes `::` as a chain of file systems,
    and what follows `?` is a query to one and part of a key to the other.
    """
    parts = unquote(address).split("/")
    if {".", ".."}.intersection(parts):
        raise InvalidArgumentError(f"{text!r} has '.' or '..' in it; write the place itself")
    if "::" in address or not text.isprintable() or {"?", "#"}.intersection(address):
        raise InvalidArgumentError("a dataset's URL must not hold '::', '?', '#' or control codes")
