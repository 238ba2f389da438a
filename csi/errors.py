"""What can go wrong with volumes, as a tree; `csi/status.py` says what each means to the kubelet.

VfsError
└── CsiError
    ├── ConfigurationError          the driver was started with settings that cannot work
    ├── BrokenError                 the driver will not serve again until it is restarted
    ├── InvalidArgumentError        the request lacks something, or says what nobody understands
    ├── NotFoundError               no such dataset, ref or sub-directory; nothing published there
    ├── AlreadyPublishedError       the target holds this volume with other arguments
    ├── OtherTargetError            the volume may be at one target only, and is at another
    ├── DeniedError                 the namespace, or the pod's identity, may not read this dataset
    ├── UnauthenticatedError        a token or secret is missing, expired or refused
    ├── BusyError                   another operation on this volume is running
    ├── UnavailableError            it may pass: starting, stopping, no mounter, no answer in time
    ├── ExhaustedError              the node has no room for another mount
    └── MounterFailedError          the mounter said no; carries the name of its error
"""

from __future__ import annotations

from vfs.errors import VfsError


class CsiError(VfsError):
    """Something about volumes, targets or the driver itself."""


class ConfigurationError(CsiError):
    """The driver was started with settings that cannot work."""


class BrokenError(CsiError):
    """The driver will not serve again until it is restarted."""


class InvalidArgumentError(CsiError):
    """The request lacks something, or says what nobody understands."""


class NotFoundError(CsiError):
    """The dataset, ref or sub-directory does not exist, or nothing is published there."""


class AlreadyPublishedError(CsiError):
    """The target holds this volume with other arguments."""


class OtherTargetError(CsiError):
    """The volume may be at one target only, and is at another."""


class DeniedError(CsiError):
    """The namespace, or the pod's identity, may not read this dataset."""


class UnauthenticatedError(CsiError):
    """A token or secret is missing, expired or refused."""


class BusyError(CsiError):
    """Another operation on this volume is running."""


class UnavailableError(CsiError):
    """It may pass: starting, stopping, no mounter connected, no answer in time."""


class ExhaustedError(CsiError):
    """The node has no room for another mount."""


class MounterFailedError(CsiError):
    """The mounter said no: *name* is the class of its error, *text* what it said."""

    def __init__(self, name: str, text: str) -> None:
        """Keep both; the name decides the code that the kubelet sees."""
        super().__init__(text or name)
        self.name = name
