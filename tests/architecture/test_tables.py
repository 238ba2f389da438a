"""Tables that must keep up with the code: what they lack would be a surprise at run time."""

from __future__ import annotations

import errno
import importlib
import pkgutil
from collections.abc import Iterator
from types import ModuleType

import pytest

import cachesvc
import csi
import vfs
from cachesvc import errors as cache_errors
from cachesvc.errors import HeadraceError
from csi import errors as csi_errors
from csi.errors import MounterFailedError
from csi.status import CODE_BY_ERROR, CODE_BY_MOUNTER_ERROR
from vfs import errors as vfs_errors
from vfs.serving.errno import ERRNO_BY_ERROR, errno_of

OPTIONAL = "vfs.torch"
"""Needs a large package that `make unit` does not install; it has no errors of its own."""


def import_everything(package: ModuleType) -> None:
    """Import all modules of *package*, so that each error class exists."""
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.", onerror=ignore):
        if not module.name.endswith("__main__") and not module.name.startswith(OPTIONAL):
            importlib.import_module(module.name)


def ignore(package: str) -> None:
    """Take it that a package cannot be imported, if it is the one that need not be there."""
    assert package == OPTIONAL


def descendants(kind: type[HeadraceError]) -> Iterator[type[HeadraceError]]:
    """Return every error class below *kind*."""
    for child in kind.__subclasses__():
        yield child
        yield from descendants(child)


def all_errors() -> list[type[HeadraceError]]:
    """Return our whole error tree without its root."""
    import_everything(cachesvc)
    import_everything(vfs)
    import_everything(csi)
    return [
        kind
        for kind in descendants(HeadraceError)
        if kind.__module__.startswith(("cachesvc", "vfs", "csi"))
    ]


def leaves_of(*packages: str) -> list[type[HeadraceError]]:
    """Return the errors of *packages* that no other error there refines."""
    return [
        kind
        for kind in all_errors()
        if kind.__module__.startswith(packages)
        and not any(child.__module__.startswith(packages) for child in kind.__subclasses__())
    ]


def test_every_error_has_an_errno() -> None:
    """Each leaf of the tree stands in the table, itself or through one of its bases."""
    leaves = leaves_of("cachesvc", "vfs")
    missing = [kind.__name__ for kind in leaves if not set(kind.__mro__) & set(ERRNO_BY_ERROR)]
    assert missing == []


def test_an_error_that_is_not_listed_has_the_errno_of_its_base() -> None:
    """What a cause is refined into later keeps its meaning to readers."""
    assert errno_of(cache_errors.CredentialsExpiredError("s3://b/k")) == errno.EACCES


def test_every_error_of_the_driver_has_a_status_code() -> None:
    """Each leaf stands in the table, itself or through a base, but for the one with a name."""
    leaves = [kind for kind in leaves_of("csi") if not issubclass(kind, MounterFailedError)]
    missing = [kind.__name__ for kind in leaves if not set(kind.__mro__) & set(CODE_BY_ERROR)]
    assert missing == []


def test_every_error_of_the_mounter_has_a_status_code() -> None:
    """The kubelet learns what each leaf that the mounter can name means."""
    names = {kind.__name__ for kind in leaves_of("cachesvc", "vfs")}
    assert names - set(CODE_BY_MOUNTER_ERROR) == set()


def test_the_mounters_table_names_no_error_that_is_gone() -> None:
    """A name that nothing raises any more would hide that its successor has no code."""
    assert set(CODE_BY_MOUNTER_ERROR) <= {kind.__name__ for kind in all_errors()}


@pytest.mark.parametrize("module", [cache_errors, vfs_errors, csi_errors])
def test_every_error_is_drawn_in_the_tree(module: ModuleType) -> None:
    """The docstring of an errors module shows each class that the module defines."""
    drawn = set((module.__doc__ or "").split())
    defined = {kind.__name__ for kind in all_errors() if kind.__module__ == module.__name__}
    assert defined - drawn == set()


def test_no_two_errors_share_a_name() -> None:
    """The name of an error, as logs show it, is enough to find it."""
    names = [kind.__name__ for kind in all_errors()]
    assert sorted(names) == sorted(set(names))
