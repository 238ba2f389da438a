"""A dataset of two versions, mounted, with the bytes of both on the node."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.node import Node

FILES: dict[str, tuple[str | None, str | None]] = {
    "same/inner/file": ("same bytes", "same bytes"),
    "same/other": ("other bytes", "other bytes"),
    "diff/same": ("unchanged among changes", "unchanged among changes"),
    "diff/file": ("version 1", "version number 2"),
    "diff/gone": ("soon gone", None),
    "diff/new": (None, "just there"),
    "leaving/file": ("in a directory that leaves", None),
    "coming/file": (None, "in a directory that comes"),
    "kind": ("a file", None),
    "kind/file": (None, "below what was a file"),
    "top": ("1", "22"),
}
"""What lies at each path in the first version and in the second."""


@dataclass(frozen=True, slots=True)
class Versioned:
    """A live mount of a dataset that has the refs v1 and v2."""

    node: Node
    source: Path
    mount: Path

    def show(self, name: str) -> str:
        """Switch the mount and return what the command said."""
        return self.node.run("checkout", name, self.mount).stdout

    def content(self) -> dict[str, str]:
        """Read the whole mount."""
        return {str(path.relative_to(self.mount)): path.read_text() for path in walk(self.mount)}

    def shows(self, content: Mapping[str, str]) -> bool:
        """Say whether the mount shows just that; not while names vanish that were listed."""
        try:
            return self.content() == content
        except FileNotFoundError:
            return False


def walk(directory: Path) -> Iterator[Path]:
    """Yield all files below *directory*."""
    for entry in sorted(directory.iterdir()):
        if entry.is_dir():
            yield from walk(entry)
        else:
            yield entry


def version(number: int) -> dict[str, str]:
    """Return what FILES says of a version."""
    both = {path: contents[number - 1] for path, contents in FILES.items()}
    return {path: content for path, content in both.items() if content is not None}


def write(source: Path, files: Mapping[str, str]) -> None:
    """Make *source* hold *files* and nothing else; what is equal is not touched."""
    for path in list(walk(source)):
        name = str(path.relative_to(source))
        if not name.startswith(".headrace/") and name not in files:
            path.unlink()
    for directory, _, _ in os.walk(source, topdown=False):
        if not os.listdir(directory):
            Path(directory).rmdir()
    for name, content in files.items():
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file() or path.read_text() != content:
            path.write_text(content)


def publish(node: Node, source: Path, name: str, files: Mapping[str, str]) -> None:
    """Publish *files* as the ref *name* and have the node's cache read them all."""
    write(source, files)
    node.snapshot(source, "--ref", name)
    mount = node.mount(f"{source}@{name}", name="reading")
    for path in walk(mount):
        path.read_bytes()
    node.umount(mount)


def versioned(node: Node, source: Path, *words: str) -> Versioned:
    """Publish both versions and mount the first."""
    for number in (1, 2):
        publish(node, source, f"v{number}", version(number))
    return Versioned(node, source, node.mount(f"{source}@v1", *words))


@contextmanager
def bound(source: Path, target: Path) -> Iterator[None]:
    """Bind *source* over *target* for the length of a block, if it stays so long (root only)."""
    bind = shutil.which("mount")
    assert bind is not None
    os.spawnl(os.P_WAIT, bind, "mount", "--bind", str(source), str(target))
    try:
        yield
    finally:
        if os.path.ismount(target):
            os.spawnlp(os.P_WAIT, "umount", "umount", str(target))
