from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench import commands
from bench.commands import CommandFailedError, Headrace, UnmountFailedError

COMMAND = Headrace({})


@contextmanager
def unmounting_refused(path: Path, *, off: bool) -> Iterator[list[str]]:
    """Let `umount` fail, with the mount *off* or still there; give what was run."""
    run: list[str] = []

    def refuse(_self: Headrace, *words: str, seconds: float | None = None) -> str:
        run.append(" ".join(words[:-1]))
        if words[0] == "umount" and "--lazy" not in words:
            raise CommandFailedError("its processes are not gone")
        return ""

    def is_there(_path: Path) -> object:
        return None if off and "umount" in run else path

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Headrace, "run", refuse)
        patched.setattr(commands, "mounted_at", is_there)
        yield run


def test_a_mount_that_somebody_is_inside_of_is_taken_off_and_that_is_told(tmp_path: Path) -> None:
    with (
        unmounting_refused(tmp_path, off=False) as run,
        pytest.raises(UnmountFailedError, match="not gone"),
        COMMAND.mounted(tmp_path),
    ):
        pass
    assert run == ["mount", "umount", "umount --lazy"]


def test_a_mount_that_is_off_is_not_taken_off_again(tmp_path: Path) -> None:
    with (
        unmounting_refused(tmp_path, off=True) as run,
        pytest.raises(UnmountFailedError),
        COMMAND.mounted(tmp_path),
    ):
        pass
    assert run == ["mount", "umount"]


def test_what_went_wrong_on_the_mount_counts_for_more(tmp_path: Path) -> None:
    with (
        unmounting_refused(tmp_path, off=False) as run,
        pytest.raises(ValueError, match="wrong bytes"),
        COMMAND.mounted(tmp_path),
    ):
        raise ValueError("wrong bytes")
    assert run[-1] == "umount --lazy"
