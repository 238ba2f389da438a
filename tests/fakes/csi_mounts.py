"""Mounts that are only a table: what LinuxMounts does, without privileges and without files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from csi.errors import CsiError, NotFoundError, UnavailableError
from vfs.mounting.mountinfo import FILESYSTEM_TYPE, MountInfo

SUB_PATHS = frozenset({"", "train", "train/a"})
"""The directories of every dataset."""


class FakeMounts:
    """Binds and detaches; `fail["bind"]` is raised by the next bind."""

    def __init__(self) -> None:
        self._table: list[MountInfo] = []
        self._minors = iter(range(100, 1_000_000))
        self.fail: dict[str, CsiError] = {}

    def mount(self, mountpoint: Path) -> None:
        minor = next(self._minors)
        self._table.append(MountInfo(minor, 0, mountpoint, FILESYSTEM_TYPE, "s3://b/d"))

    def table(self) -> list[MountInfo]:
        return list(self._table)

    def bind(self, source: Path, sub_path: str, target: Path, *, executable: bool) -> None:
        self._fail("bind")
        if sub_path not in SUB_PATHS:
            raise NotFoundError(f"the dataset has no directory {sub_path!r}; correct subPath")
        if not target.is_dir():
            raise UnavailableError(f"{target} is no directory")
        (of,) = [info for info in self._table if info.mountpoint == source]
        options = frozenset({"ro"} if executable else {"ro", "noexec"})
        self._table.append(replace(of, mountpoint=target, root=f"/{sub_path}", options=options))

    def rebind(self, source: Path, dead: Sequence[MountInfo]) -> None:
        for info in dead:
            self.bind(source, info.root.lstrip("/"), info.mountpoint, executable=False)

    def detach(self, target: Path) -> bool:
        self._fail("detach")
        before = len(self._table)
        self._table = [info for info in self._table if info.mountpoint != target]
        return len(self._table) < before

    def at(self, target: Path) -> list[MountInfo]:
        return [info for info in self._table if info.mountpoint == target]

    def _fail(self, name: str) -> None:
        if (error := self.fail.pop(name, None)) is not None:
            raise error
