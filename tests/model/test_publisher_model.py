"""The publisher against a dictionary: whatever is asked in whatever order, and whenever it dies."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from csi.errors import AlreadyPublishedError, CsiError, OtherTargetError, UnavailableError
from csi.faultpoint import Fault, InjectedFaultError
from csi.publisher import Publisher
from csi.volume import AccessMode
from tests.fakes.csi_node import FakeNode, call_of, on_a_node

VOLUMES = ("v1", "v2")
TARGETS = ("t1", "t2")
MODES = (
    AccessMode.MULTI_NODE_READER_ONLY,
    AccessMode.SINGLE_NODE_SINGLE_WRITER,
    AccessMode.SINGLE_NODE_MULTI_WRITER,
)
SUB_PATHS = ("", "train")
STEPS = (
    "publish.check",
    "publish.acquire",
    "publish.intent",
    "publish.bind",
    "publish.done",
    "unpublish.detach",
    "unpublish.forget",
    "undo.detach",
    "undo.forget",
)


@dataclass(frozen=True)
class Publish:
    volume: str
    target: str
    mode: AccessMode
    sub_path: str


@dataclass(frozen=True)
class Unpublish:
    volume: str
    target: str


@dataclass(frozen=True)
class Restart:
    """Another life of the driver, in which this step fails."""

    step: str | None


@dataclass(frozen=True)
class Reboot:
    """Nothing is mounted any more."""


Op = Publish | Unpublish | Restart | Reboot
OPS: st.SearchStrategy[Op] = st.one_of(
    st.builds(
        Publish,
        st.sampled_from(VOLUMES),
        st.sampled_from(TARGETS),
        st.sampled_from(MODES),
        st.sampled_from(SUB_PATHS),
    ),
    st.builds(Unpublish, st.sampled_from(VOLUMES), st.sampled_from(TARGETS)),
    st.builds(Restart, st.none() | st.sampled_from(STEPS)),
    st.builds(Reboot),
)

WRITERS = {AccessMode.SINGLE_NODE_SINGLE_WRITER, AccessMode.SINGLE_NODE_MULTI_WRITER}


class World:
    """A node, and what should be true of it."""

    def __init__(self, node: FakeNode, publisher: Publisher) -> None:
        self.node = node
        self.publisher = publisher
        self.published: dict[str, Publish] = {}
        """By target, what was published there with success."""
        self.uncertain: dict[str, str] = {}
        """Target → volume where something failed half way: an unpublish has to come."""

    async def apply(self, op: Op) -> None:
        match op:
            case Publish():
                await self.publish(op)
            case Unpublish():
                await self.unpublish(op)
            case Restart(step):
                self.publisher = await self.node.driver({step: Fault.FAIL} if step else {})
            case Reboot():
                await self.reboot()

    async def publish(self, op: Publish) -> None:
        if op.target in self.uncertain:
            return
        expected = self.refusal(op)
        call = call_of(self.node.target(op.target), op.volume, op.mode, {"subPath": op.sub_path})
        try:
            await self.publisher.publish(call)
        except InjectedFaultError:  # an error after which the kubelet may never come again
            assert op.target in self.published or self.is_empty(op.target)
        except CsiError as error:
            if type(error) is UnavailableError and self.node.faults.reached.is_set():
                self.note_failure(op)
            elif type(error) is not expected:
                raise
        else:
            assert expected is None
            self.published.setdefault(op.target, op)

    def note_failure(self, op: Publish) -> None:
        if op.target not in self.published and not self.is_empty(op.target):
            self.uncertain[op.target] = op.volume

    async def unpublish(self, op: Unpublish) -> None:
        if self.uncertain.get(op.target, op.volume) != op.volume:
            return
        held = self.published.get(op.target)
        try:
            await self.publisher.unpublish(op.volume, self.node.target(op.target))
        except InjectedFaultError:
            self.uncertain[op.target] = op.volume
        else:
            self.uncertain.pop(op.target, None)
        if held is None or held.volume == op.volume:
            self.published.pop(op.target, None)

    async def reboot(self) -> None:
        for info in self.node.mounts.table():
            self.node.mounts.detach(info.mountpoint)
        self.publisher = await self.node.driver()
        self.published.clear()
        self.uncertain.clear()

    def refusal(self, wanted: Publish) -> type[CsiError] | None:
        held = self.published.get(wanted.target)
        if held is not None:
            return None if is_same(held, wanted) else AlreadyPublishedError
        strict = AccessMode.SINGLE_NODE_SINGLE_WRITER
        elsewhere = [
            other
            for other in self.published.values()
            if other.volume == wanted.volume and other.target != wanted.target
        ]
        one_only = any(strict in {other.mode, wanted.mode} for other in elsewhere)
        return OtherTargetError if one_only else None

    def is_empty(self, name: str) -> bool:
        target = self.node.target(name)
        used = target in self.node.sources.used()
        return not target.exists() and not self.node.mounts.at(target) and not used

    def check(self) -> None:
        for name in TARGETS:
            if name in self.published:
                target = self.node.target(name)
                assert self.node.is_published(target, self.published[name].sub_path)
            elif name not in self.uncertain:
                assert self.is_empty(name)


def is_same(held: Publish, wanted: Publish) -> bool:
    same_mode = held.mode is wanted.mode or {held.mode, wanted.mode} <= WRITERS
    return same_mode and (held.volume, held.sub_path) == (wanted.volume, wanted.sub_path)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(OPS, max_size=12))
def test_what_is_mounted_is_what_was_published(ops: list[Op]) -> None:
    """A failure changes nothing that was published, and leaves nothing that an unpublish keeps."""

    async def scenario(node: FakeNode) -> None:
        world = World(node, await node.driver())
        for op in ops:
            await world.apply(op)
            world.check()
        publisher = await node.driver()
        for name, volume in product(TARGETS, VOLUMES):
            await publisher.unpublish(volume, node.target(name))
        assert node.leftovers() == []

    on_a_node(scenario)
