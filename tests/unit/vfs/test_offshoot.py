"""Becoming another program by fork: the child is what a fresh interpreter would have been."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROBE = """
import json, os, sys
fact = {
    "command": open("/proc/self/cmdline").read().rstrip("\\0").split("\\0"),
    "argv": sys.argv[1:],
    "name": __name__,
    "open": [int(fd) for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/dev/fd/{fd}")],
    "leads": os.getsid(0) == os.getpid(),
}
os.write(int(sys.argv[1]), json.dumps(fact).encode())
sys.exit(7)
"""
PARENT = """
import json, os
from vfs.mounting.offshoot import fork_module
other = os.open(os.devnull, os.O_RDONLY)
reader, writer = os.pipe()
child = fork_module("probe", str(writer), "and-more", kept=(writer,))
os.close(writer)
fact = json.loads(os.read(reader, 1 << 16))
print(json.dumps({**fact, "code": child.reap(), "other": other, "writer": writer}))
"""


@pytest.fixture(scope="module")
def fact(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a forked module found when it looked around, and its exit code."""
    directory = tmp_path_factory.mktemp("probe")
    (directory / "probe.py").write_text(PROBE)
    path = os.pathsep.join((str(directory), str(Path(__file__).parents[3])))
    done = subprocess.run(
        [sys.executable, "-P", "-c", PARENT],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        check=True,
        timeout=60,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_it_is_seen_under_a_command_line_of_its_own(fact: dict[str, Any]) -> None:
    words = [sys.executable, "-P", "-m", "probe", str(fact["writer"]), "and-more"]
    assert fact["command"] == words


def test_it_runs_as_the_program_with_its_words(fact: dict[str, Any]) -> None:
    assert fact["name"] == "__main__"
    assert fact["argv"] == [str(fact["writer"]), "and-more"]


def test_its_exit_code_is_the_programs(fact: dict[str, Any]) -> None:
    assert fact["code"] == 7


def test_it_has_no_descriptors_but_those_it_was_given(fact: dict[str, Any]) -> None:
    assert set(fact["open"]) == {0, 1, 2, fact["writer"]}


def test_it_leads_a_session_of_its_own(fact: dict[str, Any]) -> None:
    assert fact["leads"] is True
