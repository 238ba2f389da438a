"""A publisher in a process of its own, for tests that race it or kill it.

    python -m tests.fault.publisher race SOURCE REPO     publish a change at each line on stdin
    python -m tests.fault.publisher fork SOURCE REPO     the same, each time in a forked child
    python -m tests.fault.publisher pack SOURCE REPO     the same, with small files in packs

`race` answers with `won ID` or `lost MESSAGE`; the others with the child's pid, and at the next
line with `ended STATUS`: until then the pid stays the child's, even when it is over. Forking spares
the start of an interpreter for each of many kills.
"""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path

import anyio

from vfs.errors import RefConflictError
from vfs.snapshots.dataset import Dataset, parse_dataset
from vfs.snapshots.packplan import PackOptions
from vfs.snapshots.publish import PublishOptions, Step, publish


class Silence:
    """Progress that nobody sees."""

    def begin(self, step: Step, total: int | None) -> None:
        """Say nothing."""

    def advance(self, amount: int) -> None:
        """Say nothing."""


def publish_change(dataset: Dataset, options: PublishOptions) -> str:
    (Path(dataset.source.address) / "changed").write_text(secrets.token_hex())
    try:
        published = anyio.run(publish, dataset, options, Silence())
    except RefConflictError as exc:
        return f"lost {exc}"
    return f"won {published.snapshot_id}"


def publish_in_child(dataset: Dataset, options: PublishOptions) -> str:
    pid = os.fork()
    if pid == 0:
        publish_change(dataset, options)
        os._exit(0)
    print(pid, flush=True)
    sys.stdin.readline()
    return f"ended {os.waitpid(pid, 0)[1]}"


def main() -> None:
    mode, source, repository = sys.argv[1:]
    dataset = parse_dataset(source, repository, {})
    answer = publish_change if mode == "race" else publish_in_child
    options = PublishOptions(packing=PackOptions() if mode == "pack" else None)
    print("ready", flush=True)
    while sys.stdin.readline():
        print(answer(dataset, options), flush=True)


if __name__ == "__main__":
    main()
