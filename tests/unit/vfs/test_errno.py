"""From an exception to what a reader sees of it."""

from __future__ import annotations

import errno
import logging

import pyfuse3
import pytest
import trio

from cachesvc.errors import DeadlineExceededError, ObjectChangedError
from vfs.errors import ManifestDamagedError, MissingAttributeError
from vfs.serving.errno import errno_of
from vfs.serving.fuse import replies_errno


def errno_replied(error: Exception) -> int:
    """Return the errno that the kernel gets when a handler raises *error*."""

    @replies_errno
    async def handler() -> None:
        raise error

    with pytest.raises(pyfuse3.FUSEError) as caught:
        trio.run(handler)
    code: int = caught.value.errno
    return code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ObjectChangedError("s3://b/k"), errno.ESTALE),
        (DeadlineExceededError("s3://b/k"), errno.EIO),
        (ManifestDamagedError("page 3"), errno.EIO),
        (MissingAttributeError("user.x"), errno.ENODATA),
        (ZeroDivisionError(), errno.EIO),
        (KeyError("position"), errno.EIO),
    ],
)
def test_whatever_a_handler_raises_becomes_an_errno(error: Exception, code: int) -> None:
    assert errno_replied(error) == code


def test_an_errno_that_a_handler_chose_is_kept() -> None:
    assert errno_replied(pyfuse3.FUSEError(errno.ENOENT)) == errno.ENOENT


def test_what_a_handler_returns_is_passed_on() -> None:
    @replies_errno
    async def handler(left: int, *, right: int) -> int:
        return left + right

    async def run() -> int:
        return await handler(1, right=2)

    assert trio.run(run) == 3


def test_cancelling_a_handler_is_no_error() -> None:
    @replies_errno
    async def handler() -> None:
        await trio.sleep_forever()

    async def run() -> bool:
        with trio.move_on_after(0) as scope:
            await handler()
        return scope.cancelled_caught

    assert trio.run(run)


def test_a_bug_is_logged_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    assert errno_of(ZeroDivisionError("a bug")) == errno.EIO
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None


@pytest.mark.parametrize(
    ("error", "level"),
    [
        (ObjectChangedError("s3://b/k changed"), logging.WARNING),
        (MissingAttributeError("user.x"), logging.DEBUG),
    ],
)
def test_what_was_expected_is_logged_in_one_line(
    caplog: pytest.LogCaptureFixture, error: Exception, level: int
) -> None:
    with caplog.at_level(logging.DEBUG):
        errno_of(error)
    (record,) = caplog.records
    assert (record.levelno, record.exc_info) == (level, None)
    assert str(error) in record.message
