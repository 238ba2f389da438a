"""Places where a test lets the driver die, fail or hang. Without a plan they do nothing."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping
from enum import StrEnum

from csi.errors import ConfigurationError, UnavailableError

VARIABLE = "HEADRACE_CSI_FAULT"


class Fault(StrEnum):
    """What happens at a fault point."""

    KILL = "kill"
    FAIL = "fail"
    REFUSE = "refuse"
    HANG = "hang"


class InjectedFaultError(Exception):
    """What a bug would raise: an error that no table knows."""


class FaultPoints:
    """What happens at which step; at most one thing at each."""

    def __init__(self, plan: Mapping[str, Fault] | None = None) -> None:
        """Follow *plan*: step → fault."""
        self._plan = dict(plan or {})

    @classmethod
    def parse(cls, text: str) -> FaultPoints:
        """Return the plan in `publish.bind=kill,unpublish.rmdir=fail`.

        Raises ConfigurationError.
        """
        pairs = [word.partition("=") for word in text.split(",") if word]
        try:
            return cls({step: Fault(fault) for step, _, fault in pairs})
        except ValueError as error:
            raise ConfigurationError(f"{VARIABLE}: {error}") from None

    async def reach(self, step: str) -> None:
        """Let happen what is planned for *step*."""
        match self._plan.get(step):
            case Fault.KILL:
                os.kill(os.getpid(), signal.SIGKILL)
            case Fault.FAIL:
                raise InjectedFaultError(f"injected at {step}")
            case Fault.REFUSE:
                raise UnavailableError(f"injected at {step}")
            case Fault.HANG:
                await asyncio.Event().wait()
