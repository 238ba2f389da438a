"""Second publish of a volume on a node: what the rules say, cell by cell."""

from __future__ import annotations

from csi.errors import AlreadyPublishedError, CsiError, OtherTargetError
from csi.volume import AccessMode

SAME_ARGUMENTS, OTHER_ARGUMENTS = "P1", "P2"
SAME_TARGET, OTHER_TARGET = "T1", "T2"
MANY_TARGETS = (
    AccessMode.MULTI_NODE_READER_ONLY,
    AccessMode.MULTI_NODE_SINGLE_WRITER,
    AccessMode.MULTI_NODE_MULTI_WRITER,
    AccessMode.SINGLE_NODE_MULTI_WRITER,
)
ONE_TARGET = (
    AccessMode.SINGLE_NODE_WRITER,
    AccessMode.SINGLE_NODE_READER_ONLY,
    AccessMode.SINGLE_NODE_SINGLE_WRITER,
)

Cell = tuple[AccessMode, str, str, type[CsiError] | None]

CELLS: list[Cell] = [
    *((mode, SAME_TARGET, SAME_ARGUMENTS, None) for mode in AccessMode),
    *((mode, SAME_TARGET, OTHER_ARGUMENTS, AlreadyPublishedError) for mode in AccessMode),
    *((mode, OTHER_TARGET, SAME_ARGUMENTS, None) for mode in MANY_TARGETS),
    *((mode, OTHER_TARGET, OTHER_ARGUMENTS, None) for mode in MANY_TARGETS),
    *((mode, OTHER_TARGET, SAME_ARGUMENTS, OtherTargetError) for mode in ONE_TARGET),
    *((mode, OTHER_TARGET, OTHER_ARGUMENTS, OtherTargetError) for mode in ONE_TARGET),
]
"""All 28: mode, target, arguments, and the error, None for OK."""


def name_of(cell: Cell) -> str:
    """Return a test's id for a cell."""
    mode, target, arguments, error = cell
    return f"{mode.name}-{target}-{arguments}-{error.__name__ if error else 'OK'}"
