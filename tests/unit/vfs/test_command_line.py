from __future__ import annotations

import logging
import subprocess
import sys

import click
import pytest

from cachesvc.errors import HeadraceError, UsageError
from vfs import cli


def failing(error: Exception) -> click.Command:
    @click.command()
    def fail() -> None:
        raise error

    return fail


def run_failing(
    monkeypatch: pytest.MonkeyPatch, error: Exception, words: tuple[str, ...] = ()
) -> int:
    """Run `headrace [words] fail` and return its exit code."""
    monkeypatch.setattr(cli.LazyGroup, "get_command", lambda *_: failing(error))
    monkeypatch.setattr("sys.argv", ["headrace", *words, "fail"])
    return cli.run()


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (HeadraceError("it broke"), 1, "headrace: it broke\n"),
        (UsageError("makes no sense"), 2, "headrace: makes no sense\n"),
        (
            ZeroDivisionError("a bug"),
            1,
            "headrace: unexpected ZeroDivisionError: a bug; 'headrace -v' shows where\n",
        ),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    code: int,
    line: str,
) -> None:
    assert run_failing(monkeypatch, error) == code
    assert capsys.readouterr().err == line


def test_verbose_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ZeroDivisionError):
        run_failing(monkeypatch, ZeroDivisionError("a bug"), ("-v",))


def test_verbose_does_not_make_libraries_tell_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(HeadraceError):
        run_failing(monkeypatch, HeadraceError("it broke"), ("-v",))
    assert not logging.getLogger("botocore.auth").isEnabledFor(logging.DEBUG)


def test_a_command_that_does_not_exist_is_wrong_use(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["headrace", "no-such-command"])
    assert cli.run() == 2
    assert "No such command" in capsys.readouterr().err


@pytest.mark.parametrize("name", cli.OWN_COMMANDS)
def test_each_command_of_ours_is_found_by_its_name(name: str) -> None:
    command = cli.headrace.get_command(click.Context(cli.headrace), name)
    assert command is not None
    assert command.name == name


def test_commands_of_other_packages_are_found_too() -> None:
    context = click.Context(cli.headrace)
    assert set(cli.headrace.list_commands(context)) >= {"mount", "cache", "csi"}
    assert cli.headrace.get_command(context, "cache") is not None


def test_little_is_imported_before_a_mount_starts_its_processes() -> None:
    """Each of these takes 15 to 150 ms, and the processes take as long again."""
    heavy = {"asyncio", "botocore", "importlib.metadata", "obstore", "rich", "trio", "vfs.manifest"}
    small = {"hashlib", "msgpack", "xxhash"}
    assert not (heavy | small) & imported_by("import vfs.cli.mount")


@pytest.mark.parametrize(
    "module", ["vfs.mounting.supervisor", "vfs.mounting.zygote", "cachesvc.service"]
)
def test_no_process_that_a_mount_waits_for_imports_what_asks_for_proxies(module: str) -> None:
    """It takes each of them 12 ms."""
    assert "urllib.request" not in imported_by(f"import {module}")


def test_a_worker_imports_nothing_of_anyio_when_it_starts() -> None:
    """It is the same for all workers, so the zygote has it: 9 ms of each start and restart."""
    warm = "from vfs.mounting import zygote; zygote.warm_up()"
    run = "import anyio, anyio.lowlevel; anyio.run(anyio.lowlevel.checkpoint, backend='trio')"
    assert imported_by(f"{warm}; {run}") == imported_by(warm)


def imported_by(script: str) -> set[str]:
    """Return what is there of modules in an interpreter that has run *script*."""
    shown = f"import sys; {script}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-P", "-c", shown], check=True, capture_output=True)
    return set(done.stdout.decode().split())


def test_the_command_line_ends_with_its_exit_code_and_all_that_it_said() -> None:
    script = "import sys; sys.argv[1:] = ['--help']; from vfs import cli; cli.main()"
    done = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, check=True)
    assert b"prefetch" in done.stdout
