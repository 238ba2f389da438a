"""`headrace upgrade`: other processes, perhaps of other code, take over a live mount."""

from __future__ import annotations

import mmap
import os
import sys
from pathlib import Path

import pytest

from tests.fuse.fleet import Fleet, launched_fleet
from tests.node import Node
from vfs.mounting.process import wait_for_end

ROUNDS = 2


@pytest.fixture
def fleet(node: Node, source: Path) -> Fleet:
    """A mount of two workers."""
    return launched_fleet(node, source)


def interpreter(directory: Path, code: str) -> Path:
    """Make a Python that runs *code* before anything else."""
    (directory / "sitecustomize.py").write_text(code)
    program = directory / "python"
    program.write_text(f'#!/bin/sh\nPYTHONPATH={directory} exec {sys.executable} "$@"\n')
    program.chmod(0o755)
    return program


def test_readers_do_not_notice_an_upgrade(fleet: Fleet) -> None:
    """While `upgrade --all` replaces workers and supervisor, running reads, open files, directory
    streams and mmaps go on: no error, no wrong byte.
    """
    expected = (fleet.source / "big").read_bytes()
    with (
        fleet.readers() as readers,
        (fleet.mount / "big").open("rb") as file,
        mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as shown,
        os.scandir(fleet.mount) as listing,
    ):
        names = [next(listing).name]
        for number in range(ROUNDS):
            before = fleet.node.processes()
            fleet.node.run("upgrade", "--all")
            after = fleet.node.processes()
            assert not set(before["worker"]) & set(after["worker"])
            assert before["supervisor"] != after["supervisor"]
            assert before["keeper"] == after["keeper"]
            assert shown[number << 20 : (number + 1) << 20] == expected[number << 20 :][: 1 << 20]
            readers.wait_for_rounds(1)
            for pid in before["worker"]:
                assert wait_for_end(pid, 20)
        names += [entry.name for entry in listing]
        assert file.read() == expected
    assert readers.errors == []
    assert sorted(names) == sorted(os.listdir(fleet.source))[1:]


def test_upgrading_one_mount(fleet: Fleet) -> None:
    """`upgrade MOUNTPOINT` replaces the workers of that mount and nobody else."""
    other = fleet.node.mount(fleet.source, name="other")
    before = {row["mountpoint"]: row for row in fleet.node.mounts()}
    fleet.node.run("upgrade", other)
    after = {row["mountpoint"]: row for row in fleet.node.mounts()}
    assert after[str(fleet.mount)] == before[str(fleet.mount)]
    assert after[str(other)]["workers"] != before[str(other)]["workers"]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import os; os._exit(3)", "exit 3"),
        (
            "import vfs.mounting.worker as worker\nfrom vfs.errors import MountError\n"
            "async def fail(mounted): raise MountError('the new code is broken')\n"
            "worker._probe = fail",
            "the new code is broken",
        ),
        (
            "import os, sys\nif 'vfs.mounting.supervisor' in sys.orig_argv: os._exit(4)",
            "the new supervisor",
        ),
    ],
    ids=["it does not start", "its workers do not answer", "its supervisor does not start"],
)
def test_code_that_does_not_work(fleet: Fleet, tmp_path: Path, code: str, reason: str) -> None:
    """When the new code does not prove itself, the command says why and the old goes on."""
    before = fleet.node.processes()
    python = interpreter(tmp_path, code)
    done = fleet.node.run("upgrade", "--all", "--python", python, code=1)
    assert reason in done.stderr
    assert fleet.read(3) == (fleet.source / "f3").read_bytes()
    after = fleet.node.processes()
    assert after["supervisor"] == before["supervisor"]
    assert len(after["worker"]) == len(before["worker"])
