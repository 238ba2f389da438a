from __future__ import annotations

import asyncio

import pytest

from csi.errors import ConfigurationError, UnavailableError
from csi.faultpoint import FaultPoints, InjectedFaultError


def test_without_a_plan_nothing_happens() -> None:
    asyncio.run(FaultPoints.parse("").reach("publish.bind"))


def test_a_plan_names_steps() -> None:
    faults = FaultPoints.parse("publish.bind=fail,unpublish.rmdir=refuse")
    asyncio.run(faults.reach("publish.mkdir"))
    with pytest.raises(InjectedFaultError, match=r"publish\.bind"):
        asyncio.run(faults.reach("publish.bind"))
    with pytest.raises(UnavailableError):
        asyncio.run(faults.reach("unpublish.rmdir"))


def test_a_step_that_hangs_can_be_cancelled() -> None:
    async def scenario() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await FaultPoints.parse("publish.bind=hang").reach("publish.bind")

    asyncio.run(scenario())


@pytest.mark.parametrize("text", ["publish.bind", "publish.bind=explode"])
def test_a_plan_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="HEADRACE_CSI_FAULT"):
        FaultPoints.parse(text)
