"""Refs: small mutable names for snapshots, moved only by conditional write.

Two publishers that start from the same state race for one conditional write: exactly one wins, and
the other is told who did. No lock, no server.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import secrets
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime

from cachesvc.errors import ConditionFailedError, ObjectMissingError, UsageError
from cachesvc.objectstore.protocol import IfAbsent, IfMatch, ObjectStore
from vfs.errors import RefConflictError, RefDamagedError

REF_PREFIX = "refs/"
REF_FORMAT = 1

REF_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
SNAPSHOT_ID = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class Ref:
    """What a ref says: which snapshot, who put it there and when, and which one was there before.

    `token` is random and tells one move from any other, so that a writer whose answer got lost can
    recognise its own.
    """

    name: str
    snapshot_id: str
    manifest_size: int
    moved_at: str
    moved_by: str
    previous_id: str | None
    token: str

    def encode(self) -> bytes:
        """Return the ref as the JSON document that is stored."""
        document = {
            "format": REF_FORMAT,
            "snapshot": self.snapshot_id,
            "manifest_size": self.manifest_size,
            "moved_at": self.moved_at,
            "moved_by": self.moved_by,
            "previous": self.previous_id,
            "token": self.token,
        }
        return json.dumps(document, indent=1).encode() + b"\n"

    @property
    def account(self) -> str:
        """Say which snapshot was put there by whom and when."""
        return f"snapshot {self.snapshot_id} by {self.moved_by} at {self.moved_at}"


@dataclass(frozen=True, slots=True)
class StoredRef:
    """A ref as read, with the version of the object that it was read from."""

    ref: Ref
    version: str


def new_ref(name: str, snapshot_id: str, manifest_size: int, previous_id: str | None) -> Ref:
    """Make the ref that this process is about to write, now."""
    now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    who, token = f"{user_name()}@{socket.gethostname()}", secrets.token_hex(8)
    return Ref(name, snapshot_id, manifest_size, now, who, previous_id, token)


def user_name() -> str:
    """Return the name of the user this process runs as, or its number where it has none."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def check_ref_name(name: str) -> None:
    """Raise UsageError unless *name* can name a ref."""
    if not REF_NAME.fullmatch(name) or SNAPSHOT_ID.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot name a ref: use up to 100 letters, digits, '.', '_' and '-', "
            "a letter or digit first, and not a whole snapshot id"
        )


def decode_ref(name: str, data: bytes) -> Ref:
    """Return the ref *name* from its stored form; raises RefDamagedError when it is none."""
    try:
        document = json.loads(data)
        check_format(name, document["format"])
        return Ref(
            name=name,
            snapshot_id=checked_id(document["snapshot"]),
            manifest_size=int(document["manifest_size"]),
            moved_at=str(document["moved_at"]),
            moved_by=str(document["moved_by"]),
            previous_id=document["previous"] and checked_id(document["previous"]),
            token=str(document["token"]),
        )
    except (ValueError, KeyError, TypeError) as exc:
        raise RefDamagedError(f"ref {name!r} is damaged ({exc!r}): remove its object") from exc


def check_format(name: str, found: object) -> None:
    """Refuse a ref that another headrace wrote in a way that this one does not know."""
    if found != REF_FORMAT:
        raise RefDamagedError(
            f"ref {name!r} has format {found}, this headrace reads {REF_FORMAT}: use a newer one"
        )


def checked_id(value: object) -> str:
    """Return *value* if it is a whole snapshot id; raises ValueError otherwise."""
    if isinstance(value, str) and SNAPSHOT_ID.fullmatch(value):
        return value
    raise ValueError(f"{value!r} is no snapshot id")


async def read_ref(store: ObjectStore, name: str) -> StoredRef | None:
    """Return the ref *name* as it stands now, or None when there is none."""
    try:
        data, info = await store.get(REF_PREFIX + name)
    except ObjectMissingError:
        return None
    if info.version is None:
        raise RefDamagedError(f"ref {name!r} has no version: this store cannot move refs safely")
    return StoredRef(decode_ref(name, data), info.version)


async def read_refs(store: ObjectStore) -> AsyncIterator[StoredRef]:
    """Yield every ref of a repository, in the store's order."""
    async for batch in store.list(REF_PREFIX):
        for info in batch:
            name = info.key.removeprefix(REF_PREFIX)
            if REF_NAME.fullmatch(name) and (stored := await read_ref(store, name)):
                yield stored


async def move_ref(store: ObjectStore, expected: StoredRef | None, wanted: Ref) -> None:
    """Put *wanted* where *expected* is (None: where nothing is), or raise RefConflictError.

    A write that is refused because it had already happened, its answer lost, is a success.
    """
    condition = IfAbsent() if expected is None else IfMatch(expected.version)
    try:
        await store.put_if(REF_PREFIX + wanted.name, wanted.encode(), condition)
    except ConditionFailedError as exc:
        current = await read_ref(store, wanted.name)
        if current is None or current.ref != wanted:
            raise conflict(wanted, current) from exc


def conflict(wanted: Ref, winner: StoredRef | None) -> RefConflictError:
    """Name the winner to the publisher that lost."""
    who = "was deleted" if winner is None else f"was moved to {winner.ref.account}"
    return RefConflictError(
        f"ref {wanted.name!r} {who} while snapshot {wanted.snapshot_id} was being made: "
        "publish again to build on that"
    )
