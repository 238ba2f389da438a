"""What a volume's attributes say, as one frozen value. Whatever is not understood is an error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from csi import words
from csi.errors import InvalidArgumentError
from csi.place import split_name
from csi.words import Word

DEFAULT_REF = "main"
KUBELETS = "csi.storage.k8s.io/"
PROVISIONERS = "storage.kubernetes.io/"
"""The external provisioner leaves its identity in each volume that it makes."""


@dataclass(frozen=True, slots=True)
class Attributes:
    """What is to be seen, and how. None stands for what the driver's settings say.

    `dataset` and `repository` are canonical places; `name` is that of a ref or a snapshot.
    """

    dataset: str
    name: str = DEFAULT_REF
    repository: str | None = None
    sub_path: str = ""
    uid: int | None = None
    gid: int | None = None
    mode: int | None = None
    read_ahead_kib: int | None = None
    prefetch: str | None = None
    executable: bool = False
    workers: int | None = None
    deadline_seconds: float | None = None
    endpoint: str | None = None
    region: str | None = None
    role_arn: str | None = None


FIELDS: Mapping[str, tuple[str, Word[Any]]] = {
    "repository": ("repository", words.PLACE),
    "subPath": ("sub_path", words.SUB_PATH),
    "uid": ("uid", words.IDENTIFIER),
    "gid": ("gid", words.IDENTIFIER),
    "mode": ("mode", words.MODE),
    "readAhead": ("read_ahead_kib", words.READ_AHEAD),
    "prefetch": ("prefetch", words.PREFETCH),
    "exec": ("executable", words.TRUTH),
    "workers": ("workers", words.WORKERS),
    "deadline": ("deadline_seconds", words.SECONDS),
    "endpoint": ("endpoint", words.ENDPOINT),
    "region": ("region", words.REGION),
    "roleArn": ("role_arn", words.ROLE),
}
"""Attribute → the field that it fills, and how it is read."""
NAMES: Mapping[str, Word[str]] = {
    "dataset": words.NAME,
    "ref": words.NAME,
    "snapshot": words.SNAPSHOT,
}
"""Where the snapshot may be named, in `dataset` after an @."""
KNOWN = frozenset({*NAMES, *FIELDS})


def parse_attributes(context: Mapping[str, str]) -> Attributes:
    """Return what a `volume_context` says. Raises InvalidArgumentError that names the attribute."""
    given = {key: word for key, word in context.items() if not is_foreign(key)}
    for key in sorted(given.keys() - KNOWN):
        raise InvalidArgumentError(
            f"volume attribute {key[:80]!r} is not known; known are {', '.join(sorted(KNOWN))}"
        )
    place, name = _dataset(given)
    read = {
        field: word.read(key, given[key]) for key, (field, word) in FIELDS.items() if key in given
    }
    return Attributes(place, name, **read)


def is_foreign(key: str) -> bool:
    """Whether an attribute was added by the kubelet or the provisioner, not by the user."""
    return key.startswith((KUBELETS, PROVISIONERS))


def _dataset(given: Mapping[str, str]) -> tuple[str, str]:
    """Return the place, and the name of the snapshot in it that is to be shown."""
    if not given.get("dataset"):
        raise InvalidArgumentError(
            "volume attribute 'dataset' is missing; write dataset: s3://bucket/prefix"
        )
    place, inline = split_name(given["dataset"])
    said = {**given, "dataset": inline}
    named = [(key, said[key]) for key in NAMES if said.get(key) is not None]
    if len(named) > 1:
        raise InvalidArgumentError(
            "volume attributes name the snapshot twice; give one of dataset@NAME, ref and snapshot"
        )
    names = [NAMES[key].read(key, name) for key, name in named if name is not None]
    return words.PLACE.read("dataset", place), names[0] if names else DEFAULT_REF
