"""Whatever step fails, hangs or is the last of a life: what is left, and who cleans it up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import pytest

import csi
from csi.errors import BusyError, NotFoundError, UnavailableError
from csi.faultpoint import Fault, InjectedFaultError
from csi.publisher import Publisher
from csi.state import PublishState
from tests.fakes.csi_node import FakeNode, call_of, on_a_node, soon

PUBLISH = (
    "publish.check",
    "publish.compare",
    "publish.resolve",
    "publish.acquire",
    "publish.intent",
    "publish.mkdir",
    "publish.bind",
    "publish.done",
)
UNPUBLISH = (
    "unpublish.check",
    "unpublish.detach",
    "unpublish.rmdir",
    "unpublish.forget",
    "unpublish.release",
)
UNDO = ("undo.detach", "undo.rmdir", "undo.forget", "undo.release")
LEFTOVER = ("leftover.detach", "leftover.rmdir", "leftover.forget", "leftover.release")
SECRETS = {"accessKeyId": "AKIA1", "secretAccessKey": "s"}
FAILURES = {Fault.FAIL: InjectedFaultError, Fault.REFUSE: UnavailableError}


async def hung(node: FakeNode, step: str, begin: Callable[[Publisher], Awaitable[None]]) -> None:
    """Have a life of the driver stop at *step* for ever, as one does that is killed there."""
    life = await node.driver({step: Fault.HANG})
    task = asyncio.ensure_future(begin(life))
    await soon(node.faults.reached.wait())
    assert not task.done()


def test_every_step_is_tested_and_in_the_crash_table() -> None:
    async def scenario(node: FakeNode) -> None:
        publisher = await node.driver()
        await publisher.publish(call_of(node.target()))
        assert tuple(node.faults.passed) == PUBLISH
        node.faults.passed.clear()
        await publisher.unpublish("volume-1", node.target())
        assert tuple(node.faults.passed) == UNPUBLISH

    on_a_node(scenario)
    text = Path(csi.__path__[0], "PUBLISHING.md").read_text()
    assert all(f"`{step}`" in text for step in (*PUBLISH, *UNPUBLISH))


@pytest.mark.parametrize("fault", FAILURES)
@pytest.mark.parametrize("step", PUBLISH)
def test_a_publish_that_fails_leaves_nothing(step: str, fault: Fault) -> None:
    async def scenario(node: FakeNode) -> None:
        publisher = await node.driver({step: fault})
        with pytest.raises(FAILURES[fault]):
            await publisher.publish(call_of(node.target()))
        assert node.leftovers() == []
        with pytest.raises(NotFoundError):
            publisher.published_at("volume-1", node.target())
        await publisher.unpublish("volume-1", node.target())
        publisher = await node.driver()
        await publisher.publish(call_of(node.target()))
        assert node.is_published(node.target())

    on_a_node(scenario)


@pytest.mark.parametrize("step", PUBLISH)
def test_an_unpublish_calls_off_a_publish_that_hangs(step: str) -> None:
    async def scenario(node: FakeNode) -> None:
        publisher = await node.driver({step: Fault.HANG})
        client = asyncio.create_task(publisher.publish(call_of(node.target())))
        await soon(node.faults.reached.wait())
        with pytest.raises(BusyError):
            await publisher.unpublish("volume-1", node.target())
        with pytest.raises(UnavailableError, match="called off"):
            await client
        assert node.leftovers() == []
        await publisher.unpublish("volume-1", node.target())

    on_a_node(scenario)


@pytest.mark.parametrize("step", PUBLISH)
def test_a_driver_that_stops_undoes_what_hangs(step: str) -> None:
    async def scenario(node: FakeNode) -> None:
        publisher = await node.driver({step: Fault.HANG})
        client = asyncio.create_task(publisher.publish(call_of(node.target())))
        await soon(node.faults.reached.wait())
        await publisher.finish(0)
        with pytest.raises(UnavailableError):
            await client
        assert node.leftovers() == []

    on_a_node(scenario)


@pytest.mark.parametrize("step", PUBLISH)
def test_a_client_that_goes_away_at_any_step_leaves_no_mount_without_a_record(step: str) -> None:
    async def scenario(node: FakeNode) -> None:
        publisher = await node.driver({step: Fault.HANG})
        client = asyncio.create_task(publisher.publish(call_of(node.target())))
        await soon(node.faults.reached.wait())
        client.cancel()
        with pytest.raises(asyncio.CancelledError):
            await client
        if node.mounts.at(node.target()):
            assert list(node.config.record_dir.iterdir())
        with pytest.raises(BusyError):
            await publisher.publish(call_of(node.target()))

    on_a_node(scenario)


@pytest.mark.parametrize("step", PUBLISH)
def test_the_next_life_undoes_what_one_began(step: str) -> None:
    async def scenario(node: FakeNode) -> None:
        await hung(node, step, lambda life: life.publish(call_of(node.target())))
        publisher = await node.driver()
        if step == "publish.done":
            assert publisher.published_at("volume-1", node.target()).state is PublishState.DONE
        else:
            assert node.leftovers() == []
        await publisher.publish(call_of(node.target()))
        assert node.is_published(node.target())
        await publisher.unpublish("volume-1", node.target())
        assert node.leftovers() == []

    on_a_node(scenario)


@pytest.mark.parametrize("step", PUBLISH)
def test_unpublish_in_the_next_life_cleans_up_what_one_began(step: str) -> None:
    async def scenario(node: FakeNode) -> None:
        await hung(node, step, lambda life: life.publish(call_of(node.target())))
        publisher = await node.driver()
        await publisher.unpublish("volume-1", node.target())
        assert node.leftovers() == []

    on_a_node(scenario)


@pytest.mark.parametrize("fault", FAILURES)
@pytest.mark.parametrize("step", UNPUBLISH)
def test_an_unpublish_that_fails_is_finished_by_the_next(step: str, fault: Fault) -> None:
    async def scenario(node: FakeNode) -> None:
        await (await node.driver()).publish(call_of(node.target()))
        publisher = await node.driver({step: fault})
        with pytest.raises(FAILURES[fault]):
            await publisher.unpublish("volume-1", node.target())
        publisher = await node.driver()
        await publisher.unpublish("volume-1", node.target())
        assert node.leftovers() == []

    on_a_node(scenario)


@pytest.mark.parametrize("step", UNPUBLISH)
def test_unpublish_in_the_next_life_finishes_what_one_began(step: str) -> None:
    async def scenario(node: FakeNode) -> None:
        await (await node.driver()).publish(call_of(node.target()))
        await hung(node, step, lambda life: life.unpublish("volume-1", node.target()))
        publisher = await node.driver()
        if step in {"unpublish.detach", "unpublish.rmdir"}:
            assert node.orphans == ["done"]
        await publisher.unpublish("volume-1", node.target())
        assert node.leftovers() == []

    on_a_node(scenario)


@pytest.mark.parametrize("step", UNPUBLISH[1:])
def test_a_publish_after_half_an_unpublish_begins_anew(step: str) -> None:
    async def scenario(node: FakeNode) -> None:
        await (await node.driver()).publish(call_of(node.target()))
        publisher = await node.driver({step: Fault.REFUSE})
        with pytest.raises(UnavailableError):
            await publisher.unpublish("volume-1", node.target())
        await publisher.publish(call_of(node.target()))
        assert node.is_published(node.target())

    on_a_node(scenario)


@pytest.mark.parametrize("fault", FAILURES)
@pytest.mark.parametrize("step", UNDO)
def test_what_cannot_be_undone_is_left_to_unpublish(step: str, fault: Fault) -> None:
    """The code is one after which the kubelet comes again, whatever the cause was."""

    async def scenario(node: FakeNode) -> None:
        faults: Mapping[str, Fault] = {"publish.bind": Fault.FAIL, step: fault}
        publisher = await node.driver(faults)
        with pytest.raises(UnavailableError, match="not taken off yet"):
            await publisher.publish(call_of(node.target()))
        await publisher.unpublish("volume-1", node.target())
        assert node.leftovers() == []

    on_a_node(scenario)


@pytest.mark.parametrize("step", LEFTOVER)
def test_a_leftover_that_cannot_be_cleared_is_left_to_unpublish(step: str) -> None:
    async def scenario(node: FakeNode) -> None:
        publisher = await node.driver({"undo.detach": Fault.FAIL, "publish.bind": Fault.FAIL})
        with pytest.raises(UnavailableError):
            await publisher.publish(call_of(node.target()))
        node.faults.plan({step: Fault.FAIL})
        with pytest.raises(UnavailableError, match="not taken off yet"):
            await publisher.publish(call_of(node.target()))
        await publisher.unpublish("volume-1", node.target())
        assert node.leftovers() == []

    on_a_node(scenario)


@pytest.mark.parametrize("step", ["publish.resolve", "revive.acquire", "publish.refresh"])
def test_what_fails_before_a_dead_mount_is_taken_off_takes_nothing(step: str) -> None:
    async def scenario(node: FakeNode) -> None:
        publisher = await node.driver()
        await publisher.publish(call_of(node.target()))
        key = publisher.published_at("volume-1", node.target()).key
        if step != "publish.refresh":
            node.sources.dead.add(key)
            node.sources.unknown.add(key)
        node.faults.plan({step: Fault.FAIL})
        with pytest.raises(InjectedFaultError):
            await publisher.publish(call_of(node.target(), secrets=SECRETS))
        assert node.is_published(node.target())
        assert publisher.published_at("volume-1", node.target()).key == key
        node.faults.plan({})
        await publisher.publish(call_of(node.target(), secrets=SECRETS))
        await publisher.unpublish("volume-1", node.target())
        assert node.leftovers() == []

    on_a_node(scenario)


@pytest.mark.parametrize("step", [*LEFTOVER, *PUBLISH[3:]])
def test_what_fails_while_a_dead_mount_is_replaced_is_begun_anew(step: str) -> None:
    async def scenario(node: FakeNode) -> None:
        publisher = await node.driver()
        await publisher.publish(call_of(node.target()))
        key = publisher.published_at("volume-1", node.target()).key
        node.sources.dead.add(key)
        node.sources.unknown.add(key)
        node.faults.plan({step: Fault.FAIL})
        with pytest.raises(UnavailableError if step in LEFTOVER else InjectedFaultError):
            await publisher.publish(call_of(node.target()))
        if step not in LEFTOVER:
            assert node.leftovers() == []
        node.faults.plan({})
        await publisher.publish(call_of(node.target()))
        assert node.is_published(node.target())

    on_a_node(scenario)


def test_an_unmount_that_does_not_come_about_keeps_the_record() -> None:
    async def scenario(node: FakeNode) -> None:
        publisher = await node.driver()
        await publisher.publish(call_of(node.target()))
        node.mounts.fail["detach"] = UnavailableError("busy")
        with pytest.raises(UnavailableError):
            await publisher.unpublish("volume-1", node.target())
        assert node.is_published(node.target())
        await publisher.unpublish("volume-1", node.target())
        assert node.leftovers() == []

    on_a_node(scenario)


def test_a_start_goes_on_when_a_leftover_cannot_be_cleared() -> None:
    async def scenario(node: FakeNode) -> None:
        await hung(node, "publish.bind", lambda life: life.publish(call_of(node.target())))
        node.mounts.fail["detach"] = UnavailableError("busy")
        publisher = await node.driver()
        assert publisher.ready
        assert node.orphans == []
        await publisher.publish(call_of(node.target()))
        assert node.is_published(node.target())

    on_a_node(scenario)


def test_after_a_reboot_nothing_is_left_of_what_was_mounted() -> None:
    async def scenario(node: FakeNode) -> None:
        await (await node.driver()).publish(call_of(node.target()))
        for info in node.mounts.table():
            node.mounts.detach(info.mountpoint)
        publisher = await node.driver()
        assert node.leftovers() == []
        assert node.orphans == ["done"]
        await publisher.publish(call_of(node.target()))
        assert node.is_published(node.target())

    on_a_node(scenario)


def test_a_bind_is_waited_for_before_it_is_undone() -> None:
    """Cancelled in the middle of a bind, nothing lands on the target afterwards."""

    async def scenario(node: FakeNode) -> None:
        publisher = await node.driver()
        began, go_on = asyncio.Event(), asyncio.Event()
        loop, bind = asyncio.get_running_loop(), node.mounts.bind

        def slow(source: Path, sub_path: str, target: Path, *, executable: bool) -> None:
            loop.call_soon_threadsafe(began.set)
            asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result(10)
            bind(source, sub_path, target, executable=executable)

        node.mounts.bind = slow  # type: ignore[method-assign]  # what a slow kernel does
        client = asyncio.create_task(publisher.publish(call_of(node.target())))
        await soon(began.wait())
        with pytest.raises(BusyError):
            await publisher.unpublish("volume-1", node.target())
        assert not client.done()
        go_on.set()
        with pytest.raises(UnavailableError):
            await client
        assert node.leftovers() == []

    on_a_node(scenario)
