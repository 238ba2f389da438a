"""Which keys may be asked for below an origin. Pure."""

from __future__ import annotations

from cachesvc.errors import OutsideOriginError

ESCAPING = frozenset({".", ".."})


def checked_key(key: str, root: str) -> str:
    """Return *key* if it names something below *root*, else raise OutsideOriginError.

    "." and ".." are refused for every store: HTTP clients resolve them before they send a request,
    so on an object store too they lead out of the prefix.
    """
    if not key or key.startswith("/") or "\0" in key or not ESCAPING.isdisjoint(key.split("/")):
        message = f"{root}: the key {key!r} does not name an object below it"
        raise OutsideOriginError(message)
    return key
