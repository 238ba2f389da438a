"""Nobody can change a mount, and nothing in it gives anybody more rights."""

from __future__ import annotations

import errno
import os
import socket
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fuse.gallery import Gallery
from tests.node import Node

NOBODY = 65534

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


def as_nobody(action: Callable[[], object]) -> int:
    """Run *action* in a child process as another user; return the errno it fails with, else 0."""
    pid = os.fork()
    if pid == 0:
        code = 0
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            action()
        except OSError as error:
            code = error.errno or 255
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


CHANGES: dict[str, Callable[[Path], object]] = {
    "open for writing": lambda top: os.open(top / "plain", os.O_WRONLY),
    "open for both": lambda top: os.open(top / "plain", os.O_RDWR),
    "truncate on open": lambda top: os.open(top / "plain", os.O_RDONLY | os.O_TRUNC),
    "create": lambda top: os.open(top / "new", os.O_CREAT | os.O_WRONLY),
    "truncate": lambda top: os.truncate(top / "plain", 0),
    "unlink": lambda top: os.unlink(top / "plain"),
    "mkdir": lambda top: os.mkdir(top / "new"),
    "rmdir": lambda top: os.rmdir(top / "emptydir"),
    "rename": lambda top: os.rename(top / "plain", top / "new"),
    "link": lambda top: os.link(top / "plain", top / "new"),
    "symlink": lambda top: os.symlink("plain", top / "new"),
    "mkfifo": lambda top: os.mkfifo(top / "new"),
    "chmod": lambda top: os.chmod(top / "plain", 0o777),
    "chown": lambda top: os.chown(top / "plain", 1, 1),
    "utime": lambda top: os.utime(top / "plain"),
    "set an attribute": lambda top: os.setxattr(top / "plain", "user.x", b"y"),
    "remove an attribute": lambda top: os.removexattr(top / "plain", "user.headrace.etag"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_nothing_can_be_changed(gallery: Gallery, change: str) -> None:
    """Every change of content, names, modes, owners, times or attributes is EROFS, for root too."""
    with pytest.raises(OSError, match="Read-only file system") as caught:
        CHANGES[change](gallery.mount)
    assert caught.value.errno == errno.EROFS


def test_the_mount_options(gallery: Gallery) -> None:
    """A mount is read-only, nosuid and nodev."""
    flags = os.statvfs(gallery.mount).f_flag
    assert flags & os.ST_RDONLY
    assert flags & os.ST_NOSUID
    assert flags & os.ST_NODEV


def test_executables_run(gallery: Gallery) -> None:
    """A file that was executable in the source can be run from the mount, no other can."""
    done = subprocess.run(
        [gallery.mount / "modes" / "script"], capture_output=True, check=True, timeout=30
    )
    assert done.stdout == b"it runs\n"
    with pytest.raises(PermissionError):
        subprocess.run([gallery.mount / "modes" / "0400"], check=True, timeout=30)


@root_only
def test_set_user_id_bits_have_no_effect(gallery: Gallery) -> None:
    """Set-user-id and set-group-id bits are shown and have no effect."""
    program = gallery.mount / "modes" / "setuid_id"
    assert stat.S_IMODE(program.stat().st_mode) == 0o4755
    done = subprocess.run(
        [program, "-u"], user=NOBODY, group=NOBODY, extra_groups=[], capture_output=True, check=True
    )
    assert done.stdout == b"%d\n" % NOBODY


@root_only
def test_permission_bits_hold_for_other_users(gallery: Gallery) -> None:
    """The kernel holds every user to the permission bits: what they do not allow is EACCES."""
    modes = gallery.mount / "modes"
    for mode in (0o000, 0o400, 0o600, 0o640):
        assert as_nobody((modes / f"{mode:04o}").read_bytes) == errno.EACCES
    for mode in (0o444, 0o755, 0o777):
        assert as_nobody((modes / f"{mode:04o}").read_bytes) == 0
    assert as_nobody((modes / "closed" / "inside").read_bytes) == errno.EACCES
    assert as_nobody(lambda: os.listdir(modes / "closed")) == errno.EACCES
    # Also what root has read before, which then lies in the kernel's cache.
    assert (modes / "0600").read_bytes() == (modes / "closed" / "inside").read_bytes() == b"secret"
    assert as_nobody((modes / "0600").read_bytes) == errno.EACCES


@root_only
def test_nobody_else_gets_into_a_private_mount(node: Node, source: Path) -> None:
    """Root's mounts are open to all users, within the permission bits; with --only-me, and whenever
    another user mounts without --allow-other, to others the whole mount is EACCES.
    """
    node.directory.chmod(0o711)
    (source / "file").write_bytes(b"for all")
    node.snapshot(source)
    shared = node.mount(source, name="shared")
    private = node.mount(source, "--only-me", name="private")
    assert (private / "file").read_bytes() == b"for all"
    assert as_nobody((shared / "file").read_bytes) == 0
    assert as_nobody((private / "file").read_bytes) == errno.EACCES
    assert as_nobody(private.stat) == errno.EACCES


def test_special_files_are_left_out(node: Node, source: Path) -> None:
    """Sockets, FIFOs and devices of a source are not shown."""
    os.mkfifo(source / "fifo")
    (source / "file").touch()
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(source / "sock"))
        node.snapshot(source)
    assert os.listdir(node.mount(source)) == ["file"]
