"""Whether a volume that is published already is what is asked for now: the rules, and no I/O."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from enum import Enum

from csi.errors import AlreadyPublishedError, OtherTargetError
from csi.volume import AccessMode, Arguments, Publication

ONE_TARGET = frozenset(
    {
        AccessMode.SINGLE_NODE_WRITER,
        AccessMode.SINGLE_NODE_READER_ONLY,
        AccessMode.SINGLE_NODE_SINGLE_WRITER,
    }
)
"""Modes in which a volume is at one target of a node only."""
WRITERS = frozenset(
    {
        AccessMode.SINGLE_NODE_WRITER,
        AccessMode.SINGLE_NODE_SINGLE_WRITER,
        AccessMode.SINGLE_NODE_MULTI_WRITER,
    }
)
"""Which of these the kubelet says depends on what the driver can do, and changes with a release."""


class Verdict(Enum):
    """What is to be done."""

    NEW = "new"
    SAME = "same"


def compare(wanted: Publication, held: Iterable[Publication]) -> Verdict:
    """Say what to do about *wanted* where *held* is published on the node.

    Raises AlreadyPublishedError and OtherTargetError; what is at the target itself decides first.
    What only proves who asks is not compared.
    """
    by_target = {other.target: other for other in held}
    there = by_target.get(wanted.target)
    if there is not None:
        _check_same_target(wanted, there)
        return Verdict.SAME
    for other in by_target.values():
        if other.volume_id == wanted.volume_id:
            _check_other_target(wanted, other)
    return Verdict.NEW


def _check_same_target(wanted: Publication, held: Publication) -> None:
    if held.volume_id != wanted.volume_id:
        raise AlreadyPublishedError(
            f"{wanted.target} holds the volume {held.volume_id!r}; unpublish it first"
        )
    differing = _differences(wanted, held)
    if differing:
        raise AlreadyPublishedError(
            f"{wanted.target} holds {held.arguments.attributes.dataset} published with another "
            f"{', another '.join(differing)}; delete the pod, or ask for the same again"
        )


def _check_other_target(wanted: Publication, held: Publication) -> None:
    strict = ONE_TARGET.intersection((wanted.mode, held.mode))
    if strict:
        raise OtherTargetError(
            f"the volume {wanted.volume_id!r} is published at {held.target}, and "
            f"{min(strict).name} allows one target a node; use an access mode for many pods"
        )


def _differences(wanted: Publication, held: Publication) -> list[str]:
    ours, theirs = _flat(wanted.arguments), _flat(held.arguments)
    differing = [name for name, value in ours.items() if theirs[name] != value]
    modes = {wanted.mode, held.mode}
    return differing if len(modes) == 1 or modes <= WRITERS else [*differing, "access mode"]


def _flat(arguments: Arguments) -> dict[str, object]:
    return {
        **asdict(arguments.attributes),
        "mount option": arguments.mount_flags,
        "mount group": arguments.mount_group,
        "readonly": arguments.readonly,
    }
