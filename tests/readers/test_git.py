"""git in a mounted work tree."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.node import Node
from tests.readers.conftest import Dataset


def git(place: Path, *words: str) -> str:
    """Run git in a work tree that belongs to whoever, with nobody's configuration."""
    done = subprocess.run(
        ["git", "-c", f"safe.directory={place}", "-C", place, *words],
        env={
            "PATH": "/usr/bin:/bin",
            "GIT_CONFIG_NOSYSTEM": "1",
            "HOME": "/nonexistent",
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": str(place),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def work_tree(reader_node: Node, mounted: Callable[[Path], Dataset]) -> Dataset:
    """A repository with three commits, a changed file and one that git does not know."""
    root = reader_node.directory / "worktree"
    (root / "src").mkdir(parents=True)
    git(root, "init", "--quiet")
    for number in range(3):
        for name in range(20):
            (root / "src" / f"{name}.py").write_text(f"print({name}, {number * (name % 3)})\n")
        git(root, "add", ".")
        identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
        git(root, *identity, "commit", "--quiet", "-m", f"commit {number}")
    (root / "src" / "3.py").write_text("changed\n")
    (root / "new.txt").write_text("unknown\n")
    return mounted(root)


@pytest.mark.parametrize(
    "words", [["status", "--porcelain"], ["log", "--stat"], ["diff"], ["fsck", "--strict"]]
)
def test_git_sees_the_same(work_tree: Dataset, words: list[str]) -> None:
    """git says of the mounted work tree what it says of the source."""
    said = git(work_tree.mount, *words)
    assert said == git(work_tree.source, *words)
    if words[0] == "status":
        assert said == " M src/3.py\n?? new.txt\n"


def test_git_clones(work_tree: Dataset, tmp_path: Path) -> None:
    """A mounted repository can be cloned."""
    git(work_tree.mount, "clone", "--quiet", "--no-hardlinks", ".", str(tmp_path / "clone"))
    assert git(tmp_path / "clone", "log") == git(work_tree.source, "log")
