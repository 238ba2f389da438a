from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import subprocess, sys
from bench.ownmounts import part_with_other_mounts
part_with_other_mounts()
subprocess.run(["mount", "-t", "tmpfs", "none", sys.argv[1]], check=True)
print("mounted", flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_what_is_mounted_after_parting_nobody_else_sees(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, tmp_path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "mounted\n"
        theirs = Path(f"/proc/{child.pid}/mountinfo").read_text()
        ours = Path("/proc/self/mountinfo").read_text()
        child.communicate()
    assert (str(tmp_path) in theirs, str(tmp_path) in ours) == (True, False)
