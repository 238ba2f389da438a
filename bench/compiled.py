"""Our modules compiled, as pip leaves those that it installs.

Commands are measured with `PYTHONDONTWRITEBYTECODE`, so that a working tree whose modules were
edited, or never run, would be compiled anew by each process that starts.
"""

from __future__ import annotations

import compileall
from collections.abc import Sequence
from importlib import import_module

OURS = ("cachesvc", "csi", "vfs")


def compile_packages(names: Sequence[str] = OURS) -> None:
    """Compile what changed in packages since the last time, if their directories may be written."""
    for name in names:
        for place in import_module(name).__path__:
            compileall.compile_dir(place, quiet=2)
