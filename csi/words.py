"""How single words of volume attributes are read: what each may be, what to write instead."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Generic, TypeVar
from urllib.parse import urlsplit

from csi.errors import InvalidArgumentError
from csi.place import canonical_place, is_name

T = TypeVar("T")
N = TypeVar("N", int, float)

MOST_ID = (1 << 32) - 2
MOST_WORKERS = 64
MOST_READ_AHEAD_KIB = 1 << 20
MOST_DEADLINE_SECONDS = 3600.0

_NUMBER = re.compile(r"[0-9]{1,10}")
_SIZE = re.compile(r"([0-9]{1,12})(Ki|Mi|Gi)?")
_UNITS = {None: 1, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}
_SNAPSHOT = re.compile(r"[0-9a-f]{6,64}")
_MODE = re.compile(r"0?[0-7]{3}")
_SECONDS = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,3})?)s?")
_REGION = re.compile(r"[a-z0-9-]{1,64}")
_ROLE = re.compile(r"arn:[\w-]+:iam::[0-9]{12}:role/[\w+=,.@/-]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Word(Generic[T]):
    """A kind of word. `parse` raises ValueError or KeyError; `write` says what would be right."""

    parse: Callable[[str], T]
    write: str

    def read(self, key: str, word: str) -> T:
        """Return what the attribute *key* means. Raises InvalidArgumentError, which names it."""
        try:
            return self.parse(word)
        except InvalidArgumentError as error:
            raise InvalidArgumentError(f"volume attribute {key!r}: {error}") from None
        except (ValueError, KeyError):
            raise InvalidArgumentError(
                f"volume attribute {key!r} cannot be {word[:80]!r}; write {self.write}"
            ) from None


def _matched(pattern: re.Pattern[str], word: str) -> re.Match[str]:
    matched = pattern.fullmatch(word)
    if matched is None:
        raise ValueError(word)
    return matched


def _between(least: float, value: N, most: float) -> N:
    if not least <= value <= most:
        raise ValueError(value)
    return value


def _identifier(word: str) -> int:
    return _between(0, int(_matched(_NUMBER, word)[0]), MOST_ID)


def _workers(word: str) -> int:
    return _between(1, int(_matched(_NUMBER, word)[0]), MOST_WORKERS)


def _mode(word: str) -> int:
    return int(_matched(_MODE, word)[0], 8)


def _read_ahead(word: str) -> int:
    matched = _matched(_SIZE, word)
    return _between(0, int(matched[1]) * _UNITS[matched[2]] >> 10, MOST_READ_AHEAD_KIB)


def _seconds(word: str) -> float:
    return _between(1, float(_matched(_SECONDS, word)[1]), MOST_DEADLINE_SECONDS)


def _name(word: str) -> str:
    if not is_name(word):
        raise ValueError(word)
    return word


def _sub_path(word: str) -> str:
    """Return a relative path without detours; "" is the whole dataset."""
    path = PurePosixPath(word)
    if path.is_absolute() or ".." in path.parts or "\0" in word:
        raise ValueError(word)
    return "" if path == PurePosixPath() else str(path)


def _prefetch(word: str) -> str | None:
    if not word or not word.isprintable():
        raise ValueError(word)
    return None if word == "none" else word


def _endpoint(word: str) -> str:
    """Return a plain URL. One that is not may hold a password, so it is not repeated."""
    try:
        parts = urlsplit(word)
        plain = parts.scheme in {"http", "https"} and parts.hostname and (parts.port or 1)
    except ValueError:
        plain = None
    if not plain or "@" in parts.netloc or parts.query or parts.fragment:
        raise InvalidArgumentError("write http(s)://HOST[:PORT] and nothing secret")
    return word.rstrip("/")


PLACE = Word(canonical_place, "s3://bucket/prefix")
NAME = Word(_name, "a name of letters, digits and . _ -")
SNAPSHOT = Word(
    lambda word: _matched(_SNAPSHOT, word)[0], "a snapshot's id, or its first 6 digits or more"
)
SUB_PATH = Word(_sub_path, "a relative path without '..'")
IDENTIFIER = Word(_identifier, "a number")
MODE = Word(_mode, "three octal digits, for example '0444'")
READ_AHEAD = Word(_read_ahead, "a size of at most 1Gi, for example 4Mi")
PREFETCH = Word(_prefetch, "none, manifest or a glob")
TRUTH = Word({"true": True, "false": False}.__getitem__, "'true' or 'false'")
WORKERS = Word(_workers, f"a number from 1 to {MOST_WORKERS}")
SECONDS = Word(_seconds, "seconds from 1 to 3600, for example 60s")
ENDPOINT = Word(_endpoint, "http(s)://HOST[:PORT]")
REGION = Word(lambda word: _matched(_REGION, word)[0], "a region, for example eu-central-1")
ROLE = Word(lambda word: _matched(_ROLE, word)[0], "arn:aws:iam::ACCOUNT:role/NAME")
