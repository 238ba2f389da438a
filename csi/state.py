"""Publish records: what is published where, on disk, for the next life of the driver. No secrets.

They say what a target shows; whether it does is said by mountinfo.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from csi.attributes import Attributes
from csi.errors import UnavailableError
from csi.pod import PodInfo
from csi.volume import NOBODY, AccessMode, Arguments, Publication

T = TypeVar("T")

log = logging.getLogger(__name__)

RECORD_VERSION = 1
SUFFIX = ".json"


class PublishState(StrEnum):
    """How far a publication has come."""

    INTENT = "intent"
    """Perhaps something is mounted; nobody was told that it is."""
    DONE = "done"
    """The kubelet was told that it is published, or will be."""


@dataclass(frozen=True, slots=True)
class PublishRecord:
    """One publication. `credentials` is the digest of those that were last handed on."""

    publication: Publication
    state: PublishState
    key: str
    snapshot_id: str
    file_count: int
    total_bytes: int
    credentials: str = ""
    pod: PodInfo = NOBODY

    @property
    def volume_id(self) -> str:
        """Which volume it is."""
        return self.publication.volume_id

    @property
    def dataset(self) -> str:
        """What it shows."""
        return self.publication.arguments.attributes.dataset

    @property
    def target(self) -> Path:
        """Where it is published."""
        return self.publication.target

    def done(self) -> PublishRecord:
        """Return the record of what has been bound."""
        return replace(self, state=PublishState.DONE)

    def to_json(self) -> str:
        """Return the record as one line."""
        publication = self.publication
        content = {
            **asdict(self),
            "publication": {**asdict(publication), "target": str(publication.target)},
        }
        return json.dumps({"version": RECORD_VERSION, **content})

    @classmethod
    def from_json(cls, text: str) -> PublishRecord:
        """Return the record that `to_json` wrote, here or in a later release.

        Raises ValueError, KeyError or TypeError for what is no record of this version.
        """
        said = json.loads(text)
        if said["version"] != RECORD_VERSION:
            raise ValueError(f"a record of version {said['version']!r}")
        publication = said["publication"]
        return _known(
            cls,
            {
                **said,
                "state": PublishState(said["state"]),
                "pod": _known(PodInfo, said["pod"]),
                "publication": Publication(
                    publication["volume_id"],
                    Path(publication["target"]),
                    AccessMode(publication["mode"]),
                    _arguments(publication["arguments"]),
                ),
            },
        )


class RecordFiles:
    """The records' directory. All calls block; each changes a record whole or not at all."""

    def __init__(self, directory: Path) -> None:
        """Keep records in *directory*, which is made if need be and closed to others."""
        self._directory = directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def write(self, record: PublishRecord) -> None:
        """Write *record* in the place of the one for the same volume and target.

        Raises UnavailableError.
        """
        path = self._path(record.volume_id, record.target)
        draft = path.with_suffix(".new")
        try:
            _write_through(draft, record.to_json())
            draft.replace(path)
            _sync_directory(self._directory)
        except OSError as error:
            raise UnavailableError(
                f"cannot write the publish record {path}: {error.strerror}; see to that disk"
            ) from error

    def remove(self, volume_id: str, target: Path) -> None:
        """Remove the record, if there is one, whoever wrote it. Raises UnavailableError."""
        path = self._path(volume_id, target)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise UnavailableError(
                f"cannot remove the publish record {path}: {error.strerror}; see to that disk"
            ) from error

    def read_all(self) -> list[PublishRecord]:
        """Return all records that can be read; others stay, for a release that knows them."""
        for draft in self._directory.glob("*.new"):
            draft.unlink(missing_ok=True)
        found = (_read(path) for path in sorted(self._directory.glob(f"*{SUFFIX}")))
        return [record for record in found if record is not None]

    def _path(self, volume_id: str, target: Path) -> Path:
        name = json.dumps([volume_id, str(target)])
        digest = hashlib.blake2b(name.encode(), digest_size=16).hexdigest()
        return self._directory / f"{digest}{SUFFIX}"


def _arguments(said: Mapping[str, Any]) -> Arguments:
    attributes = _known(Attributes, said["attributes"])
    flags = tuple(said["mount_flags"])
    return _known(Arguments, {**said, "attributes": attributes, "mount_flags": flags})


def _known(kind: type[T], said: Mapping[str, Any]) -> T:
    """Return a dataclass from what it knows of *said*; a later release may say more."""
    names = {field.name for field in fields(kind)}  # type: ignore[arg-type]  # all are dataclasses
    return kind(**{name: value for name, value in said.items() if name in names})


def _read(path: Path) -> PublishRecord | None:
    try:
        return PublishRecord.from_json(path.read_text())
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        log.warning("the publish record %s is left alone: %s", path, error)
        return None


def _write_through(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
