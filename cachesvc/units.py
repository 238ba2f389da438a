"""Units of size. Imports nothing: whoever only names a size waits for nothing else."""

from __future__ import annotations

MIB = 1 << 20
GIB = 1 << 30
