"""Inode numbers as the kernel sees them: an epoch of the mount and a position. Pure."""

from __future__ import annotations

from typing import NewType

Ino = NewType("Ino", int)
"""`epoch << 40 | position`: 16 million version switches, a trillion inodes in a snapshot."""

POSITION_BITS = 40
POSITION_MASK = (1 << POSITION_BITS) - 1
ROOT_POSITION = 1
ROOT_INO = Ino(1)
"""What the kernel calls the root, whatever is mounted: always the current epoch's."""


def ino_of(epoch: int, position: int) -> Ino:
    """Return the number of the inode at *position* in the snapshot of *epoch*."""
    if position == ROOT_POSITION:
        return ROOT_INO
    return Ino(epoch << POSITION_BITS | position)


def cookie_of(epoch: int, entry: int) -> int:
    """Return where a listing that began in *epoch* goes on after its entry number *entry*.

    `epoch_of` and `position_of` take it apart; 0 is the beginning of any.
    """
    return epoch << POSITION_BITS | entry


def epoch_of(ino: int) -> int:
    """Return the epoch in which *ino* was given out; the root's is always 0."""
    return ino >> POSITION_BITS


def position_of(ino: int) -> int:
    """Return the position of *ino* in its snapshot's inode table."""
    return ino & POSITION_MASK
