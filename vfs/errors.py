"""What can go wrong with snapshots, manifests and mounts, as a tree.

HeadraceError
└── VfsError
    ├── ManifestError               these bytes are not a manifest to build on
    │   ├── ManifestDamagedError    it was one once: truncated, altered, or made to mislead
    │   ├── ManifestForeignError    it is something else, or another snapshot than the one asked for
    │   └── ManifestNewerError      it was written by a later headrace in a format unknown here
    ├── NameCollisionError          two things of one dataset want the same path
    ├── InvalidNameError            a path that no file system could show
    ├── RepositoryError             finding a snapshot by name, or giving it one, did not work
    │   ├── RefConflictError        another publisher moved the ref first; says who
    │   ├── RefDamagedError         a ref's object is not what a ref looks like
    │   ├── SnapshotMissingError    nothing in the repository has this name
    │   └── AmbiguousSnapshotError  the start of more than one snapshot id
    ├── SourceError                 this source cannot be published as it is
    │   ├── SourceUnreadableError   it is not there, no directory, or may not be looked at
    │   ├── SourceEmptyError        no object lies below it
    │   └── SourceNamesError        strictly asked for, it holds what a snapshot cannot show
    ├── ScratchError                the temporary directory does not take what publishing writes
    ├── MountError                  mounting, unmounting or serving a mount did not work
    │   └── MountBusyError          somebody uses it
    ├── StaleInodeError             an inode number of a snapshot that this mount does not have
    ├── WrongKindError              the request does not fit a file, directory or symlink
    └── MissingAttributeError       no such extended attribute
"""

from __future__ import annotations

from cachesvc.errors import HeadraceError


class VfsError(HeadraceError):
    """Something about snapshots, manifests or mounts."""


class ManifestError(VfsError):
    """These bytes are not a manifest to build on."""


class ManifestDamagedError(ManifestError):
    """The manifest is truncated, altered, or contradicts itself."""


class ManifestForeignError(ManifestError):
    """This is no manifest, or it is another snapshot than the one asked for."""


class ManifestNewerError(ManifestError):
    """The manifest is in a format that this version does not know."""


class NameCollisionError(VfsError):
    """Two things of one dataset want the same path."""


class InvalidNameError(VfsError):
    """A path that no file system could show."""


class RepositoryError(VfsError):
    """Finding a snapshot by name, or giving it one, did not work."""


class RefConflictError(RepositoryError):
    """Another publisher moved the ref first."""


class RefDamagedError(RepositoryError):
    """A ref's object is not what a ref looks like."""


class SnapshotMissingError(RepositoryError):
    """Nothing in the repository has this name."""


class AmbiguousSnapshotError(RepositoryError):
    """The start of more than one snapshot id."""


class SourceError(VfsError):
    """This source cannot be published as it is."""


class SourceUnreadableError(SourceError):
    """The source is not there, no directory, or may not be looked at."""


class SourceEmptyError(SourceError):
    """No object lies below the source."""


class SourceNamesError(SourceError):
    """The source holds what a snapshot cannot show, and that was to be an error."""


class ScratchError(VfsError):
    """The temporary directory does not take what publishing parks there."""


class MountError(VfsError):
    """Mounting, unmounting or serving a mount did not work."""


class MountBusyError(MountError):
    """Somebody uses the mount: an open file, a working directory, a mount inside it."""


class StaleInodeError(VfsError):
    """An inode number of a snapshot that this mount does not have."""


class WrongKindError(VfsError):
    """The request does not fit what the inode is."""


class MissingAttributeError(VfsError):
    """The inode has no such extended attribute."""
