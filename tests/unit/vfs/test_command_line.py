from __future__ import annotations

import logging

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
