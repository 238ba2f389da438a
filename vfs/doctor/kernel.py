"""Findings about what the kernel and its helpers allow."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vfs.doctor.finding import Finding, ok, problem, warning

DEVICE = Path("/dev/fuse")
FIRST_TO_RESEND = (6, 9)


@dataclass(frozen=True, slots=True)
class KernelSettings:
    """What there is to know; `device_error` is empty when /dev/fuse can be opened."""

    release: str
    device_error: str
    is_root: bool
    fusermount: str | None
    allows_others: bool
    max_pages_limit: int | None


def read_settings() -> KernelSettings:
    """Look at this machine."""
    return KernelSettings(
        release=os.uname().release,
        device_error=_device_error(),
        is_root=os.geteuid() == 0,
        fusermount=shutil.which("fusermount3"),
        allows_others=allows_others(_text_of(Path("/etc/fuse.conf"))),
        max_pages_limit=_number(_text_of(Path("/proc/sys/fs/fuse/max_pages_limit"))),
    )


def kernel_findings(settings: KernelSettings) -> Iterator[Finding]:
    """Judge what was read."""
    yield _of_device(settings)
    yield _of_release(settings.release)
    if not settings.is_root:
        yield from _of_helper(settings)
    if settings.max_pages_limit is not None:
        yield ok("fs.fuse.max_pages_limit", f"{settings.max_pages_limit} pages a request at most")


def _of_device(settings: KernelSettings) -> Finding:
    if not settings.device_error:
        return ok(str(DEVICE), "it can be opened")
    advice = "'modprobe fuse' as root; a container needs '--device /dev/fuse'"
    return problem(str(DEVICE), settings.device_error, advice)


def _of_release(release: str) -> Finding:
    if version_of(release) >= FIRST_TO_RESEND:
        return ok(f"kernel {release}", "it repeats what a dead worker left unanswered")
    return warning(
        f"kernel {release}",
        "it repeats no requests: what is in flight fails when a worker dies",
        "use Linux 6.9 or later",
    )


def _of_helper(settings: KernelSettings) -> Iterator[Finding]:
    if settings.fusermount is None:
        yield problem("fusermount3", "only root mounts without it", "apt-get install fuse3")
    else:
        yield ok(settings.fusermount, "it mounts for users")
    said = "may" if settings.allows_others else "may not"
    yield ok("/etc/fuse.conf", f"user_allow_other: 'mount --allow-other' {said} be used")


def version_of(release: str) -> tuple[int, int]:
    """Return a kernel's version; one that cannot be read counts as old."""
    matched = re.match(r"(\d+)\.(\d+)", release)
    return (int(matched[1]), int(matched[2])) if matched else (0, 0)


def allows_others(configuration: str) -> bool:
    """Say whether fuse.conf lets users open their mounts to others."""
    return "user_allow_other" in map(str.strip, configuration.splitlines())


def _device_error() -> str:
    try:
        os.close(os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return f"it cannot be opened: {error.strerror}"
    return ""


def _text_of(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _number(text: str) -> int | None:
    return int(text) if text.strip().isdigit() else None
