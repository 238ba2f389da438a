"""Where our errors become what a program expects of a file: OSError, by the mounts' own table."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from cachesvc.errors import HeadraceError
from vfs.serving.errno import errno_of

P = ParamSpec("P")
R = TypeVar("R")


def oserror_of(error: HeadraceError) -> OSError:
    """Return *error* as a program that read a mount would get it, but with words."""
    made = OSError(errno_of(error), str(error))
    made.__cause__ = error
    return made


def raising_oserror(function: Callable[P, R]) -> Callable[P, R]:
    """Let *function* raise an OSError where it raised one of ours."""

    @wraps(function)
    def translated(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except HeadraceError as error:
            raise oserror_of(error) from error

    return translated
