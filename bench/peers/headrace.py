"""headrace, driven by its command as its users drive it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

from bench.commands import Headrace


class HeadraceMount:
    """One mountpoint; `forget` puts another mount there, served by other processes."""

    def __init__(self, command: Headrace, path: Path, words: Sequence[str]) -> None:
        """Mount what *words* say at *path*, once told to."""
        self.path = path
        self._command = command
        self._words = words
        self._mounted = ExitStack()

    def mount(self) -> None:
        """Mount."""
        self._mounted.enter_context(self._command.mounted(self.path, *self._words))

    def unmount(self) -> None:
        """Unmount. The cache service goes on."""
        self._mounted.close()

    def forget(self) -> None:
        """Mount anew: pages, names and attributes are gone, the node's cache is not."""
        self.unmount()
        self.mount()

    def announced(self, order: Path) -> AbstractContextManager[None]:
        """Say for the length of a block that files are read in the *order* that a file holds."""
        return self._command.beside("prefetch", str(self.path), "--order", str(order), "--follow")

    def reads_announced(self) -> int:
        """Return how many reads the cache service has been told of."""
        return self._command.cache_stats()["reads_announced"]

    def servers(self) -> Mapping[str, Sequence[int]]:
        """Return who serves the mount."""
        rows = json.loads(self._command.run("list", "--json"))
        (row,) = (row for row in rows if row["mountpoint"] == str(self.path))
        return {"workers": row["workers"], "cachesvc": [row["cachesvc"]]}


class HeadraceMounts:
    """Publishes the dataset into a repository beside its state, and mounts it."""

    name = "headrace"

    def __init__(self, *options: str) -> None:
        """Mount with *options*."""
        self._options = options

    @contextmanager
    def mounted(self, dataset: Path, scratch: Path) -> Iterator[HeadraceMount]:
        """Publish and mount *dataset*, with a node's cache of its own."""
        command = Headrace.below(scratch, {})
        words = (str(dataset), "--repo", str(scratch / "repository"))
        command.run("snapshot", *words)
        mount = HeadraceMount(command, scratch / "mount", (*words, *self._options))
        with command.cache_service_stopped_after():
            mount.mount()
            try:
                yield mount
            finally:
                mount.unmount()
