"""Reading a snapshot without a mount, inside the program that wants its bytes.

Knows fsspec, threads, forks and pickles; not FUSE. See `docs/in-process.md`.
"""

from __future__ import annotations

from vfs.inprocess.open import open_snapshot

__all__ = ["open_snapshot"]
