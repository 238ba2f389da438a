"""Where a dataset lies, written in one way only, so that no other spelling slips past a rule.

Knows the shape of URLs. Does not know who may use which; that is `csi/policy.py`.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

from csi.errors import InvalidArgumentError

ALIASES = {"s3a": "s3", "gcs": "gs", "local": "file"}
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.+)")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def split_name(text: str) -> tuple[str, str | None]:
    """Split `s3://bucket/data@v3` into place and snapshot name, None where there is no name."""
    place, at, name = text.rpartition("@")
    return (place, name) if at and place and _NAME.fullmatch(name) else (text, None)


def is_name(text: str) -> bool:
    """Whether *text* can be the name of a ref or a snapshot."""
    return _NAME.fullmatch(text) is not None


def canonical_place(text: str) -> str:
    """Return *text*, a URL or an absolute path, in the one spelling that rules are made for.

    Raises InvalidArgumentError for what has no such spelling, and for URLs with credentials; these
    are not repeated in the message.
    """
    scheme, address = _split(text)
    if scheme != "file" and "@" in address.partition("/")[0]:
        raise InvalidArgumentError(
            "a dataset's URL must not carry credentials; give them by nodePublishSecretRef"
        )
    if address.startswith("/") != (scheme == "file"):
        raise InvalidArgumentError(f"{text!r} names no bucket or host; write s3://bucket/prefix")
    _check_parts(text, address)
    return f"{scheme}://{address.rstrip('/')}"


def scheme_of(place: str) -> str:
    """Return the scheme of a canonical place."""
    return place.partition("://")[0]


def _split(text: str) -> tuple[str, str]:
    if text.startswith("/"):
        return "file", text
    matched = _URL.fullmatch(text)
    if matched is None:
        raise InvalidArgumentError(f"{text!r} is no dataset; write s3://bucket/prefix")
    scheme = matched[1].lower()
    return ALIASES.get(scheme, scheme), matched[2]


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
