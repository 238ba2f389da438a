"""What the doctor says: findings, and the cures that some of them have. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TypeAlias

from vfs.doctor.processes import Process
from vfs.mounting.mountinfo import MountInfo


class Severity(StrEnum):
    """How bad it is; only a problem makes the command fail."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Unmount:
    """Take a dead connection's mount off."""

    mountpoint: Path
    connection: int
    key: str | None


@dataclass(frozen=True, slots=True)
class ForgetMount:
    """Remove the state directory of a mount that is gone."""

    key: str


@dataclass(frozen=True, slots=True)
class RemoveSocket:
    """Remove a socket at which nobody listens; whoever may listen holds *lock*."""

    socket: Path
    lock: Path


@dataclass(frozen=True, slots=True)
class Resume:
    """Let a stopped process go on."""

    process: Process


@dataclass(frozen=True, slots=True)
class End:
    """End a process that serves nothing, or whose work others take up."""

    process: Process


@dataclass(frozen=True, slots=True)
class StartSupervisor:
    """Have a supervisor adopt the mounts that live without one."""


@dataclass(frozen=True, slots=True)
class ReadAhead:
    """Let the kernel read as far ahead on a mount as its user wished."""

    mount: MountInfo
    kibibytes: int


Cure: TypeAlias = Unmount | ForgetMount | RemoveSocket | Resume | End | StartSupervisor | ReadAhead


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: what there is to say, where, and what to do about it."""

    severity: Severity
    where: str
    what: str
    advice: str = ""
    cure: Cure | None = None

    def line(self) -> str:
        """Return it as a person reads it."""
        advice = f"; {self.advice}" if self.advice else ""
        return f"{self.severity:<7}  {self.where}: {self.what}{advice}"


def ok(where: str, what: str) -> Finding:
    """Return the finding that something is as it should be."""
    return Finding(Severity.OK, where, what)


def warning(where: str, what: str, advice: str, cure: Cure | None = None) -> Finding:
    """Return a finding that somebody should know of."""
    return Finding(Severity.WARNING, where, what, advice, cure)


def problem(where: str, what: str, advice: str, cure: Cure | None = None) -> Finding:
    """Return a finding that keeps something from working."""
    return Finding(Severity.PROBLEM, where, what, advice, cure)
