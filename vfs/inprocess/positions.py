"""A set of positions in a snapshot. Pure."""

from __future__ import annotations


class Positions:
    """Takes one bit for each position up to the largest: 125 KB for a million files."""

    def __init__(self) -> None:
        """Begin with none."""
        self._bits = bytearray()
        self._count = 0

    def __len__(self) -> int:
        """Return how many there are."""
        return self._count

    def __contains__(self, position: object) -> bool:
        """Say whether *position* was added."""
        if not isinstance(position, int):
            return False
        place, bit = divmod(position, 8)
        return place < len(self._bits) and bool(self._bits[place] >> bit & 1)

    def add(self, position: int) -> None:
        """Add *position*."""
        if position in self:
            return
        place, bit = divmod(position, 8)
        self._bits.extend(bytes(max(0, place + 1 - len(self._bits))))
        self._bits[place] |= 1 << bit
        self._count += 1
