"""What the answers of an S3 server mean: one table for both engines."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cachesvc.errors import (
    AccessDeniedError,
    ConditionFailedError,
    CredentialsExpiredError,
    ObjectChangedError,
    ObjectMissingError,
    StoreError,
    StoreUnavailableError,
)

EXPIRED_CODES = frozenset({"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"})
TRANSIENT_CODES = frozenset(
    {"RequestTimeout", "SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded"}
)
WRONG_REGION_CODES = frozenset(
    {"PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed", "IllegalLocation"}
)
_CODE = re.compile(r"<Code>(\w+)</Code>")
TRANSIENT_STATUSES = frozenset({408, 409, 425, 429})


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that is no success: the HTTP status and S3's own code, as far as they are known."""

    status: int
    code: str = ""

    def __str__(self) -> str:
        """Return what a person reads: "503 SlowDown"."""
        return f"{self.status} {self.code}".rstrip()


def code_in(text: str) -> str:
    """Return S3's own code for an error, "" where its text has none."""
    found = _CODE.search(text)
    return found[1] if found else ""


def refused(place: str, refusal: Refusal, *, writing: bool = False) -> StoreError:
    """Return the error that an answer stands for; *writing* tells which condition 412 denies.

    Only status and code go into the text: S3 answers a bad signature with the request's headers,
    session token included.
    """
    kind, advice = _meaning(refusal, writing=writing)
    return kind(f"{place}: the store answered {refusal}{advice}")


def _meaning(refusal: Refusal, *, writing: bool) -> tuple[type[StoreError], str]:
    if refusal.code in EXPIRED_CODES:
        return CredentialsExpiredError, "; get new credentials and mount again"
    if refusal.code in WRONG_REGION_CODES or 300 <= refusal.status < 400:
        return AccessDeniedError, "; set the bucket's region (--storage-option region=NAME)"
    if refusal.code in TRANSIENT_CODES or refusal.status in TRANSIENT_STATUSES:
        return StoreUnavailableError, ""
    if refusal.status >= 500:
        return StoreUnavailableError, ""
    return _meaning_of_status(refusal, writing=writing)


def _meaning_of_status(refusal: Refusal, *, writing: bool) -> tuple[type[StoreError], str]:
    match refusal.status:
        case 404 | 410 | 412 if writing and refusal.code != "NoSuchBucket":
            return ConditionFailedError, "; somebody else was first"
        case 404 | 410:
            return ObjectMissingError, ""
        case 412 | 416:
            return ObjectChangedError, "; the object is another version now"
        case _:
            return AccessDeniedError, "; check credentials and permissions"


def unanswered(place: str, reason: str) -> StoreUnavailableError:
    """Return the error for a request that got no proper answer."""
    return StoreUnavailableError(f"{place}: {reason}")


@dataclass(frozen=True, slots=True)
class RangeAnswer:
    """What an answer to a range request says it brings: `[start, stop)` of `total` bytes."""

    start: int
    stop: int
    total: int
    version: str | None


def check_range(
    place: str, answer: RangeAnswer, start: int, stop: int, version: str | None
) -> None:
    """Raise unless *answer* is what was asked for; no client library makes sure of that.

    An object that ends before *stop* is another one than the caller knows, unless its etag says
    that it is the same: then the server is mistaken, and may answer better the next time.
    """
    if version is not None and answer.version != version:
        raise refused(place, Refusal(412, "OtherETag"))
    if version is None and answer.total < stop:
        raise refused(place, Refusal(416, "ShorterObject"))
    if (answer.start, answer.stop) != (start, stop):
        raise unanswered(place, f"sent {answer.start}-{answer.stop} for {start}-{stop}")
