"""What each of our errors means to a program that reads the mount: one table."""

from __future__ import annotations

import errno
import logging

from cachesvc import errors as cache_errors
from vfs import errors as vfs_errors
from vfs.serving.protocol import MalformedRequestError

log = logging.getLogger(__name__)

ERRNO_BY_ERROR: dict[type[BaseException], int] = {
    cache_errors.ObjectMissingError: errno.ESTALE,
    cache_errors.ObjectChangedError: errno.ESTALE,
    cache_errors.AccessDeniedError: errno.EACCES,
    cache_errors.ConditionFailedError: errno.EIO,
    cache_errors.StoreUnavailableError: errno.EIO,
    cache_errors.ChunkCorruptError: errno.EIO,
    cache_errors.OutsideOriginError: errno.EACCES,
    cache_errors.CacheUnusableError: errno.EIO,
    cache_errors.CacheBusyError: errno.EIO,
    cache_errors.CacheServiceError: errno.EIO,
    cache_errors.UsageError: errno.EINVAL,
    vfs_errors.VfsError: errno.EIO,
    vfs_errors.StaleInodeError: errno.ESTALE,
    vfs_errors.WrongKindError: errno.EINVAL,
    vfs_errors.MissingAttributeError: errno.ENODATA,
    MalformedRequestError: errno.EINVAL,
}
"""An error that is not listed means what its nearest listed base means."""


def errno_of(error: BaseException) -> int:
    """Return the errno for *error* and log it once, with a traceback only when it is a bug."""
    for kind in type(error).__mro__:
        if (code := ERRNO_BY_ERROR.get(kind)) is not None:
            log.log(_level(code), "%s: %s", errno.errorcode[code], error)
            return code
    log.error("EIO: unexpected %s", type(error).__name__, exc_info=error)
    return errno.EIO


def _level(code: int) -> int:
    return logging.DEBUG if code in {errno.ENOENT, errno.ENODATA} else logging.WARNING
