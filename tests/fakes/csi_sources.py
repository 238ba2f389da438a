"""Source mounts that are entries of a table, with users."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from csi.errors import CsiError, UnavailableError
from tests.fakes.csi_mounts import FakeMounts
from vfs.mounting.spec import MountSpec


class FakeSources:
    """Acquires and releases; `fail` is raised by the next call that can fail."""

    def __init__(self, directory: Path, mounts: FakeMounts) -> None:
        self._directory = directory
        self._mounts = mounts
        self.users: defaultdict[str, set[Path]] = defaultdict(set)
        self.dead: set[str] = set()
        self.unknown: set[str] = set()
        """Dead ones of which nobody knows how they were made."""
        self.refreshed: list[tuple[str, MountSpec]] = []
        self.fail: CsiError | None = None

    async def acquire(self, spec: MountSpec, target: Path) -> Path:
        self._fail()
        key = self._live_key(spec.key)
        source = self._directory / key
        if not self._mounts.at(source):
            self._mounts.mount(source)
        self.users[key].add(target)
        return source

    def release(self, target: Path) -> None:
        for key in list(self.users):
            self.users[key].discard(target)
            if not self.users[key]:
                del self.users[key]

    def is_live(self, key: str) -> bool:
        return bool(self._mounts.at(self._directory / key)) and key not in self.dead

    async def revive(self, key: str) -> None:
        self._fail()
        if key in self.unknown:
            raise UnavailableError(f"how {key} was made is not known")
        self.dead.discard(key)

    async def refresh(self, key: str, spec: MountSpec) -> None:
        self._fail()
        self.refreshed.append((key, spec))

    def used(self) -> set[Path]:
        return {target for users in self.users.values() for target in users}

    def _live_key(self, share: str) -> str:
        numbered = (f"{share}-{number}" for number in range(100))
        return next(key for key in numbered if key not in self.dead)

    def _fail(self) -> None:
        if self.fail is not None:
            error, self.fail = self.fail, None
            raise error
