from __future__ import annotations

import subprocess
import sys

import pytest

ENDPOINT = "--endpoint=unix:///nonexistent/plugins/x/csi.sock"


def run(program: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("command", ["node", "controller"])
def test_without_grpc_the_command_says_what_to_install(command: str) -> None:
    program = "import sys; sys.modules['grpc'] = None; from vfs.cli import main; main()"
    done = run(program, "csi", command, ENDPOINT)
    assert (done.returncode, done.stderr) == (
        1,
        "headrace: grpc is missing; install the driver with pip install 'headrace[csi]'\n",
    )


def test_help_does_not_wait_for_grpc() -> None:
    done = run("import sys; import csi.cli; print(sorted(sys.modules))")
    assert "'csi.cli'" in done.stdout
    assert "'grpc'" not in done.stdout


def test_every_option_of_the_node_is_a_variable_too() -> None:
    program = (
        "import os; os.environ['HEADRACE_CSI_WORKERS'] = '0';"
        "os.environ['HEADRACE_CSI_NODE_NAME'] = 'n'; from vfs.cli import main; main()"
    )
    done = run(program, "csi", "node", ENDPOINT)
    assert done.stderr == "headrace: workers must be at least 1, not 0\n"
