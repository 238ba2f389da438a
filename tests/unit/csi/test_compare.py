from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from csi.attributes import Attributes
from csi.compare import ONE_TARGET, Verdict, compare
from csi.errors import AlreadyPublishedError, OtherTargetError
from csi.volume import AccessMode, Arguments, Publication
from tests.unit.csi.truth_table import CELLS, OTHER_TARGET, SAME_ARGUMENTS, Cell, name_of

T1, T2 = Path("/pods/1/mount"), Path("/pods/2/mount")
P1 = Arguments(Attributes("s3://bucket/data"))
P2 = replace(P1, attributes=replace(P1.attributes, sub_path="train"))
WRITERS = (
    AccessMode.SINGLE_NODE_WRITER,
    AccessMode.SINGLE_NODE_SINGLE_WRITER,
    AccessMode.SINGLE_NODE_MULTI_WRITER,
)
DIFFERENT_MODES = [
    modes
    for modes in product(AccessMode, AccessMode)
    if modes[0] is not modes[1] and not set(modes) <= set(WRITERS)
]
HELD = Publication("v", T1, AccessMode.MULTI_NODE_READER_ONLY, P1)


@pytest.mark.parametrize("cell", CELLS, ids=name_of)
def test_the_truth_table_holds(cell: Cell) -> None:
    mode, target, arguments, error = cell
    held = Publication("v", T1, mode, P1)
    wanted = Publication(
        "v",
        T2 if target == OTHER_TARGET else T1,
        mode,
        P1 if arguments == SAME_ARGUMENTS else P2,
    )
    if error is not None:
        with pytest.raises(error):
            compare(wanted, [held])
    else:
        expected = Verdict.NEW if target == OTHER_TARGET else Verdict.SAME
        assert compare(wanted, [held]) is expected


def test_what_was_never_published_is_new() -> None:
    assert compare(HELD, []) is Verdict.NEW


@pytest.mark.parametrize(
    "attributes",
    [
        Attributes("s3://bucket/other"),
        Attributes("s3://bucket/data", name="v2"),
        Attributes("s3://bucket/data", repository="s3://bucket/repo"),
        Attributes("s3://bucket/data", sub_path="train"),
        Attributes("s3://bucket/data", uid=1),
        Attributes("s3://bucket/data", gid=1),
        Attributes("s3://bucket/data", mode=0o440),
        Attributes("s3://bucket/data", read_ahead_kib=0),
        Attributes("s3://bucket/data", prefetch="*.bin"),
        Attributes("s3://bucket/data", executable=True),
        Attributes("s3://bucket/data", workers=2),
        Attributes("s3://bucket/data", deadline_seconds=5.0),
        Attributes("s3://bucket/data", endpoint="http://h"),
        Attributes("s3://bucket/data", region="eu-central-1"),
        Attributes("s3://bucket/data", role_arn="arn"),
    ],
    ids=repr,
)
def test_each_attribute_is_an_argument(attributes: Attributes) -> None:
    with pytest.raises(AlreadyPublishedError, match="s3://bucket/data"):
        compare(replace(HELD, arguments=replace(P1, attributes=attributes)), [HELD])


@pytest.mark.parametrize(
    "arguments",
    [replace(P1, mount_flags=("ro",)), replace(P1, mount_group=5), replace(P1, readonly=False)],
    ids=repr,
)
def test_flags_group_and_readonly_are_arguments(arguments: Arguments) -> None:
    with pytest.raises(AlreadyPublishedError):
        compare(replace(HELD, arguments=arguments), [HELD])


@pytest.mark.parametrize("modes", list(product(WRITERS, WRITERS)))
def test_writers_of_one_node_are_one_mode_at_the_same_target(
    modes: tuple[AccessMode, AccessMode],
) -> None:
    """The kubelet's mapping changes with the driver's capabilities."""
    held, wanted = (replace(HELD, mode=mode) for mode in modes)
    assert compare(wanted, [held]) is Verdict.SAME


@pytest.mark.parametrize("modes", DIFFERENT_MODES)
def test_other_modes_are_different_arguments_at_the_same_target(
    modes: tuple[AccessMode, AccessMode],
) -> None:
    held, wanted = (replace(HELD, mode=mode) for mode in modes)
    with pytest.raises(AlreadyPublishedError, match="access mode"):
        compare(wanted, [held])


@pytest.mark.parametrize("modes", list(product(AccessMode, AccessMode)))
def test_the_stricter_mode_decides_at_another_target(
    modes: tuple[AccessMode, AccessMode],
) -> None:
    held = replace(HELD, mode=modes[0])
    wanted = replace(HELD, mode=modes[1], target=T2)
    if ONE_TARGET.isdisjoint(modes):
        assert compare(wanted, [held]) is Verdict.NEW
    else:
        with pytest.raises(OtherTargetError, match=str(T1)):
            compare(wanted, [held])


@pytest.mark.parametrize("turn", [1, -1])
def test_what_is_at_the_target_itself_decides_first(turn: int) -> None:
    shared = replace(HELD, mode=AccessMode.SINGLE_NODE_MULTI_WRITER)
    held = [shared, replace(shared, target=T2)][::turn]
    alone = replace(shared, mode=AccessMode.SINGLE_NODE_SINGLE_WRITER)
    assert compare(alone, held) is Verdict.SAME
    with pytest.raises(AlreadyPublishedError):
        compare(replace(alone, arguments=P2), held)


def test_another_volume_at_another_target_does_not_matter() -> None:
    strict = replace(HELD, mode=AccessMode.SINGLE_NODE_SINGLE_WRITER)
    assert compare(replace(strict, volume_id="w", target=T2), [strict]) is Verdict.NEW


def test_a_target_that_holds_another_volume_is_taken() -> None:
    with pytest.raises(AlreadyPublishedError, match="'v'"):
        compare(replace(HELD, volume_id="w"), [HELD])
