"""What can go wrong with objects and the cache, as a tree.

HeadraceError                       all that is raised on purpose; its text is one line for a person
├── UsageError                      the person asked for something that makes no sense
└── CacheError
    ├── StoreError                  talking to the object store; names the object
    │   ├── ObjectMissingError      it is gone (404)
    │   ├── ObjectChangedError      it is there, but it is another version now (412, size, mtime)
    │   ├── AccessDeniedError       these credentials may not (401, 403)
    │   │   └── CredentialsExpiredError   they could once: fetch new ones and try again
    │   ├── ConditionFailedError    a conditional write lost: somebody else was first
    │   └── StoreUnavailableError   it may pass: 5xx, time-out, connection cut, short body
    │       └── DeadlineExceededError     it did not pass in time
    ├── ChunkCorruptError           bytes do not match their checksum, twice in a row
    ├── OutsideOriginError          a key that points outside the origin it was asked from
    ├── CacheUnusableError          the cache directory cannot be used (damaged, read-only, gone)
    │   ├── CacheFullError          nothing can be stored now: its disk or map is full
    │   └── CacheDamagedError       its files are not what was written: begin anew
    ├── CacheBusyError              another cache service holds this directory
    └── CacheServiceError           the cache service cannot be reached, or broke the protocol
"""

from __future__ import annotations


class HeadraceError(Exception):
    """Something went wrong that a person can read about in one line."""


def first_error(group: BaseExceptionGroup[Exception]) -> Exception:
    """Return the first single exception inside nested groups: one is enough to tell."""
    error = group.exceptions[0]
    return first_error(error) if isinstance(error, BaseExceptionGroup) else error


class UsageError(HeadraceError):
    """The person asked for something that makes no sense."""


class CacheError(HeadraceError):
    """Something about objects, chunks or the node's cache."""


class StoreError(CacheError):
    """Talking to the object store failed."""


class ObjectMissingError(StoreError):
    """The object is gone."""


class ObjectChangedError(StoreError):
    """The object is another version than the one asked for."""


class AccessDeniedError(StoreError):
    """These credentials may not do this."""


class CredentialsExpiredError(AccessDeniedError):
    """These credentials were good once; new ones may be."""


class ConditionFailedError(StoreError):
    """A conditional write lost: the object is not in the state the writer expected."""


class StoreUnavailableError(StoreError):
    """The store did not answer properly this time; it may the next."""


class DeadlineExceededError(StoreUnavailableError):
    """The store did not answer properly within the deadline, retries included."""


class ChunkCorruptError(CacheError):
    """A chunk's bytes do not match its checksum, twice in a row."""


class OutsideOriginError(CacheError):
    """A key points outside the origin it was asked from."""


class CacheUnusableError(CacheError):
    """The cache directory cannot be used."""


class CacheFullError(CacheUnusableError):
    """Nothing can be stored at the moment; what is stored can still be read."""


class CacheDamagedError(CacheUnusableError):
    """The cache's files are not what was written: they are to be thrown away."""


class CacheBusyError(CacheError):
    """Another cache service holds this directory."""


class CacheServiceError(CacheError):
    """The cache service cannot be reached, or broke the protocol."""
