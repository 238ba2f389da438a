from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from csi.errors import (
    AlreadyPublishedError,
    BusyError,
    DeniedError,
    ExhaustedError,
    InvalidArgumentError,
    MounterFailedError,
    NotFoundError,
    UnauthenticatedError,
    UnavailableError,
)
from csi.publisher import Publisher
from csi.volume import AccessMode
from tests.fakes.csi_node import DATASET, POD, FakeNode, call_of, on_a_node, soon
from tests.fakes.csi_resolver import MOVED_SNAPSHOT, SNAPSHOT
from tests.unit.csi.truth_table import CELLS, OTHER_TARGET, SAME_ARGUMENTS, Cell, name_of

SECRET = "canary-of-a-secret"
SECRETS = {"accessKeyId": "AKIA1", "secretAccessKey": SECRET}
ROTATED = {**SECRETS, "secretAccessKey": "rotated"}

Scenario = Callable[[FakeNode, Publisher], Awaitable[None]]


def play(scenario: Scenario) -> FakeNode:
    async def played(node: FakeNode) -> None:
        await scenario(node, await node.driver())

    return on_a_node(played)


@pytest.mark.parametrize("cell", CELLS, ids=name_of)
def test_the_truth_table_holds(cell: Cell) -> None:
    mode, target, arguments, error = cell

    async def scenario(node: FakeNode, publisher: Publisher) -> None:
        one, two = node.target("one"), node.target("two")
        await publisher.publish(call_of(one, mode=mode))
        words = {} if arguments == SAME_ARGUMENTS else {"subPath": "train"}
        wanted = call_of(two if target == OTHER_TARGET else one, mode=mode, attributes=words)
        if error is None:
            await publisher.publish(wanted)
            assert node.is_published(wanted.wanted.target, words.get("subPath", ""))
        else:
            with pytest.raises(error):
                await publisher.publish(wanted)
            assert not two.exists()
        assert node.is_published(one)

    play(scenario)


def test_a_publication_is_mounted_recorded_and_gone_after_unpublish() -> None:
    async def scenario(node: FakeNode, publisher: Publisher) -> None:
        target = node.target()
        await publisher.publish(call_of(target))
        assert node.is_published(target)
        record = publisher.published_at("volume-1", target)
        assert (record.file_count, record.total_bytes, record.pod) == (7, 1000, POD)
        await publisher.unpublish("volume-1", target)
        assert node.leftovers() == []
        with pytest.raises(NotFoundError):
            publisher.published_at("volume-1", target)

    play(scenario)


def test_publishing_again_is_the_same_and_asks_nobody() -> None:
    async def scenario(node: FakeNode, publisher: Publisher) -> None:
        target = node.target()
        for _ in range(3):
            await publisher.publish(call_of(target, secrets=SECRETS))
        assert len(node.mounts.at(target)) == 1
        assert len(node.resolver.questions) == 1
        assert node.sources.refreshed == []

    play(scenario)


def test_a_ref_that_moved_is_not_another_argument() -> None:
    async def scenario(node: FakeNode, publisher: Publisher) -> None:
        target = node.target()
        await publisher.publish(call_of(target))
        node.resolver.snapshot = MOVED_SNAPSHOT
        await publisher.publish(call_of(target))
        assert publisher.published_at("volume-1", target).snapshot_id == SNAPSHOT

    play(scenario)


def test_volumes_of_one_dataset_share_one_source_mount() -> None:
    async def scenario(node: FakeNode, publisher: Publisher) -> None:
        targets = [node.target(str(number)) for number in range(20)]
        calls = [
            call_of(target, f"volume-{number}", attributes={"subPath": ["", "train"][number % 2]})
            for number, target in enumerate(targets)
        ]
        await asyncio.gather(*(publisher.publish(call) for call in calls))
        assert len(node.sources.users) == 1
        assert len(node.resolver.questions) == 1
        await asyncio.gather(
            *(publisher.unpublish(f"volume-{n}", target) for n, target in enumerate(targets))
        )
        assert node.leftovers() == []

    play(scenario)


def test_identities_do_not_share() -> None:
    async def scenario(node: FakeNode, publisher: Publisher) -> None:
        await publisher.publish(call_of(node.target("a"), "a", secrets=SECRETS))
        await publisher.publish(call_of(node.target("b"), "b", secrets=ROTATED))
        await publisher.publish(call_of(node.target("c"), "c"))
        assert len(node.sources.users) == 3

    play(scenario)


@pytest.mark.parametrize("mode", AccessMode)
def test_every_access_mode_is_accepted(mode: AccessMode) -> None:
    async def scenario(node: FakeNode, publisher: Publisher) -> None:
        await publisher.publish(call_of(node.target(), mode=mode))
        assert node.is_published(node.target())

    play(scenario)


def test_execution_is_allowed_only_where_it_is_asked_for() -> None:
    async def scenario(node: FakeNode, publisher: Publisher) -> None:
        plain, exe = node.target("plain"), node.target("exe")
        await publisher.publish(call_of(plain, "plain"))
        await publisher.publish(call_of(exe, "exe", attributes={"exec": "true"}))
        assert "noexec" in node.mounts.at(plain)[0].options
        assert "noexec" not in node.mounts.at(exe)[0].options

    play(scenario)


@pytest.mark.parametrize(
    ("name", "words"),
    [("dataset", {}), ("repository", {"repository": "s3://secret/repo"})],
)
def test_a_namespace_mounts_only_what_the_list_allows(name: str, words: dict[str, str]) -> None:
    async def scenario(node: FakeNode, _: Publisher) -> None:
        allowed = {POD.namespace: ("s3://bucket",)} if name == "repository" else {"x": ("*",)}
        node.config = replace(node.config, datasets=allowed)
        publisher = await node.driver()
        with pytest.raises(DeniedError, match="allow-list"):
            await publisher.publish(call_of(node.target(), attributes=words))
        assert node.leftovers() == []
        assert node.resolver.questions == []

    play(scenario)


def test_the_pods_own_identity_is_asked_although_another_may() -> None:
    async def scenario(node: FakeNode, publisher: Publisher) -> None:
        await publisher.publish(call_of(node.target("a"), "a", secrets=SECRETS))
        node.resolver.fail = MounterFailedError("AccessDeniedError", "may not read it")
        with pytest.raises(MounterFailedError, match=f"{DATASET}: may not read it") as caught:
            await publisher.publish(call_of(node.target("b"), "b", secrets=ROTATED))
        assert caught.value.name == "AccessDeniedError"
        await publisher.publish(call_of(node.target("c"), "c", secrets=SECRETS))
        assert not node.target("b").exists()

    play(scenario)


def test_a_pod_is_told_of_its_failure_without_secrets() -> None:
    async def scenario(node: FakeNode, publisher: Publisher) -> None:
        node.resolver.fail = MounterFailedError("SnapshotMissingError", "no ref main")
        with pytest.raises(MounterFailedError):
            await publisher.publish(call_of(node.target(), secrets=SECRETS))

    node = play(scenario)
    ((pod, reason, message),) = node.told
    assert (pod, reason) == (POD, "DatasetNotMounted")
    assert DATASET in message
    assert SECRET not in message


def test_whatever_goes_wrong_the_dataset_is_named_once() -> None:
    async def scenario(node: FakeNode, publisher: Publisher) -> None:
        node.resolver.fail = MounterFailedError("StoreUnavailableError", "no answer")
        calls = (publisher.publish(call_of(node.target(name), name)) for name in "abc")
        errors = await asyncio.gather(*calls, return_exceptions=True)
        (text,) = {str(error) for error in errors}
        assert text.count(DATASET) == 1
        assert text.endswith("it will be tried again: no answer")
        node.resolver.fail = None
        node.sources.fail = ExhaustedError("no memory")
        with pytest.raises(ExhaustedError, match=f"{DATASET}: no memory"):
            await publisher.publish(call_of(node.target()))

    play(scenario)


def test_a_missing_sub_directory_leaves_nothing() -> None:
    async def scenario(node: FakeNode, publisher: Publisher) -> None:
        with pytest.raises(NotFoundError, match="subPath"):
            await publisher.publish(call_of(node.target(), attributes={"subPath": "nowhere"}))
        assert node.leftovers() == []

    play(scenario)


def test_a_node_without_room_leaves_nothing() -> None:
    async def scenario(node: FakeNode, publisher: Publisher) -> None:
        node.sources.fail = ExhaustedError("no memory")
        with pytest.raises(ExhaustedError):
            await publisher.publish(call_of(node.target()))
        assert node.leftovers() == []
        await publisher.publish(call_of(node.target()))

    play(scenario)


def test_a_target_without_parent_is_refused() -> None:
    async def scenario(node: FakeNode, publisher: Publisher) -> None:
        with pytest.raises(InvalidArgumentError, match="parent"):
            await publisher.publish(call_of(node.pods / "nowhere" / "mount"))
        assert node.leftovers() == []

    play(scenario)


def test_a_target_that_is_there_already_is_used() -> None:
    async def scenario(node: FakeNode, publisher: Publisher) -> None:
        node.target().mkdir()
        await publisher.publish(call_of(node.target()))
        assert node.is_published(node.target())

    play(scenario)


# New credentials


def test_new_credentials_are_proved_and_handed_on_without_a_new_mount() -> None:
    async def scenario(node: FakeNode, publisher: Publisher) -> None:
        target = node.target()
        await publisher.publish(call_of(target, secrets=SECRETS))
        before, key = node.mounts.table(), publisher.published_at("volume-1", target).key
        node.resolver.snapshot = MOVED_SNAPSHOT
        await publisher.publish(call_of(target, secrets=ROTATED))
        ((refreshed, spec),) = node.sources.refreshed
        assert refreshed == key
        assert spec.environment["AWS_SECRET_ACCESS_KEY"] == "rotated"
        assert spec.snapshot_id == SNAPSHOT
        assert node.mounts.table() == before
        await publisher.publish(call_of(target, secrets=ROTATED))
        assert len(node.sources.refreshed) == 1

    play(scenario)


def test_credentials_that_are_refused_unmount_nothing() -> None:
    async def scenario(node: FakeNode, publisher: Publisher) -> None:
        target = node.target()
        await publisher.publish(call_of(target, secrets=SECRETS))
        node.resolver.fail = MounterFailedError("AccessDeniedError", "no")
        with pytest.raises(MounterFailedError):
            await publisher.publish(call_of(target, secrets=ROTATED))
        assert node.is_published(target)
        assert node.sources.refreshed == []
        node.resolver.fail = None
        await publisher.publish(call_of(target, secrets=ROTATED))
        assert len(node.sources.refreshed) == 1

    play(scenario)


def test_another_life_knows_which_credentials_were_handed_on() -> None:
    async def scenario(node: FakeNode, publisher: Publisher) -> None:
        await publisher.publish(call_of(node.target(), secrets=SECRETS))
        publisher = await node.driver()
        await publisher.publish(call_of(node.target(), secrets=SECRETS))
        assert len(node.resolver.questions) == 1
        assert node.sources.refreshed == []

    play(scenario)


def test_no_secret_is_written_down() -> None:
    async def scenario(node: FakeNode, publisher: Publisher) -> None:
        await publisher.publish(call_of(node.target(), secrets=SECRETS))
        written = [path.read_bytes() for path in node.root.rglob("*") if path.is_file()]
        assert len(written) == 2
        assert not any(SECRET.encode() in content for content in written)

    play(scenario)


# Dead mounts


def test_a_dead_mount_is_revived() -> None:
    async def scenario(node: FakeNode, publisher: Publisher) -> None:
        target = node.target()
        await publisher.publish(call_of(target))
        key = publisher.published_at("volume-1", target).key
        node.sources.dead.add(key)
        await publisher.publish(call_of(target))
        assert node.sources.is_live(key)
        assert publisher.published_at("volume-1", target).key == key

    play(scenario)


def test_a_dead_mount_that_cannot_be_revived_is_replaced_at_its_snapshot() -> None:
    async def scenario(node: FakeNode, publisher: Publisher) -> None:
        target = node.target()
        await publisher.publish(call_of(target))
        key = publisher.published_at("volume-1", target).key
        node.sources.dead.add(key)
        node.sources.unknown.add(key)
        node.resolver.snapshot = MOVED_SNAPSHOT
        await publisher.publish(call_of(target))
        record = publisher.published_at("volume-1", target)
        assert record.key != key
        assert record.snapshot_id == SNAPSHOT
        assert node.sources.is_live(record.key)
        assert node.is_published(target)
        assert [reason for _, reason, _ in node.told] == ["DatasetMountedAnew"]
        await publisher.unpublish("volume-1", target)
        assert node.leftovers() == []

    play(scenario)


def test_a_dead_mount_stays_until_there_is_another() -> None:
    async def scenario(node: FakeNode, publisher: Publisher) -> None:
        target = node.target()
        await publisher.publish(call_of(target))
        key = publisher.published_at("volume-1", target).key
        node.sources.dead.add(key)
        node.sources.unknown.add(key)
        node.resolver.fail = MounterFailedError("StoreUnavailableError", "away")
        with pytest.raises(UnavailableError, match="access cannot be checked"):
            await publisher.publish(call_of(target))
        assert node.is_published(target)
        assert publisher.published_at("volume-1", target).key == key

    play(scenario)


# Unpublish


@pytest.mark.parametrize("made", [False, True])
def test_unpublish_of_what_nobody_knows_is_fine(*, made: bool) -> None:
    async def scenario(node: FakeNode, publisher: Publisher) -> None:
        if made:
            node.target().mkdir()
        await publisher.unpublish("unknown", node.target())
        await publisher.unpublish("unknown", node.target())
        assert node.leftovers() == []

    play(scenario)


def test_unpublish_takes_off_what_is_mounted_without_a_record() -> None:
    async def scenario(node: FakeNode, publisher: Publisher) -> None:
        target = node.target()
        target.mkdir()
        node.mounts.mount(target)
        node.mounts.mount(target)
        await publisher.unpublish("volume-1", target)
        assert node.leftovers() == []

    play(scenario)


def test_unpublish_of_another_volume_at_a_target_touches_nothing() -> None:
    async def scenario(node: FakeNode, publisher: Publisher) -> None:
        await publisher.publish(call_of(node.target()))
        await publisher.unpublish("volume-2", node.target())
        assert node.is_published(node.target())

    play(scenario)


def test_unpublish_never_removes_files() -> None:
    async def scenario(node: FakeNode, publisher: Publisher) -> None:
        target = node.target()
        await publisher.publish(call_of(target))
        (target / "precious").touch()
        with pytest.raises(UnavailableError, match="move its files away"):
            await publisher.unpublish("volume-1", target)
        (target / "precious").unlink()
        await publisher.unpublish("volume-1", target)
        assert node.leftovers() == []

    play(scenario)


def test_unpublish_at_one_target_leaves_the_other() -> None:
    async def scenario(node: FakeNode, publisher: Publisher) -> None:
        one, two = node.target("one"), node.target("two")
        await publisher.publish(call_of(one))
        await publisher.publish(call_of(two))
        await publisher.unpublish("volume-1", one)
        assert node.is_published(two)
        await publisher.unpublish("volume-1", two)
        assert node.leftovers() == []

    play(scenario)


# At the same time


def test_a_second_call_for_a_volume_is_refused_while_one_runs() -> None:
    async def scenario(node: FakeNode, publisher: Publisher) -> None:
        node.resolver.gate.clear()
        first = asyncio.create_task(publisher.publish(call_of(node.target())))
        await soon(node.resolver.asked.wait())
        with pytest.raises(BusyError):
            await publisher.publish(call_of(node.target()))
        await publisher.unpublish("volume-2", node.target("two"))
        node.resolver.gate.set()
        await first
        assert node.is_published(node.target())

    play(scenario)


def test_two_publishes_at_once_are_one_and_a_refusal() -> None:
    async def scenario(node: FakeNode, publisher: Publisher) -> None:
        calls = (publisher.publish(call_of(node.target())) for _ in range(2))
        first, second = await asyncio.gather(*calls, return_exceptions=True)
        assert first is None
        assert isinstance(second, BusyError)
        await publisher.publish(call_of(node.target()))
        assert len(node.mounts.at(node.target())) == 1

    play(scenario)


def test_a_client_that_goes_away_leaves_its_publish_to_be_finished() -> None:
    async def scenario(node: FakeNode, publisher: Publisher) -> None:
        node.resolver.gate.clear()
        client = asyncio.create_task(publisher.publish(call_of(node.target())))
        await soon(node.resolver.asked.wait())
        client.cancel()
        with pytest.raises(asyncio.CancelledError):
            await client
        node.resolver.gate.set()
        await publisher.finish(10)
        assert node.is_published(node.target())
        assert (await node.driver()).published_at("volume-1", node.target()).snapshot_id == SNAPSHOT

    play(scenario)


def test_a_driver_that_starts_asks_for_patience() -> None:
    async def scenario(node: FakeNode, publisher: Publisher) -> None:
        publisher.ready = False
        with pytest.raises(UnavailableError, match="starting"):
            await publisher.publish(call_of(node.target()))
        with pytest.raises(UnavailableError, match="starting"):
            await publisher.unpublish("volume-1", node.target())

    play(scenario)


def test_pods_without_credentials_are_refused_where_the_node_reads_for_nobody() -> None:
    async def scenario(node: FakeNode, _: Publisher) -> None:
        node.config = replace(node.config, node_identity_allowed=False)
        publisher = await node.driver()
        with pytest.raises(UnauthenticatedError):
            await publisher.publish(call_of(node.target()))
        assert node.leftovers() == []

    play(scenario)


# Health


def test_health_is_told_from_memory() -> None:
    async def scenario(node: FakeNode, publisher: Publisher) -> None:
        target = node.target()
        with pytest.raises(NotFoundError):
            publisher.findings("volume-1", None)
        node.resolver.fail = MounterFailedError("StoreUnavailableError", "away")
        with pytest.raises(UnavailableError, match="access cannot be checked"):
            await publisher.publish(call_of(target))
        assert [found.reason for found in publisher.findings("volume-1", target)] == [
            "PublishFailed"
        ]
        assert publisher.conditions.storage is not None
        node.resolver.fail = None
        await publisher.publish(call_of(target))
        assert publisher.findings("volume-1", target) == []
        assert publisher.conditions.storage is None
        node.sources.dead.add(publisher.published_at("volume-1", target).key)
        assert [found.reason for found in publisher.findings("volume-1", None)] == ["MountDead"]

    play(scenario)


# What is mounted without a record


def test_a_mount_of_a_lost_record_is_recognised() -> None:
    async def scenario(node: FakeNode, publisher: Publisher) -> None:
        target = node.target()
        await publisher.publish(call_of(target, attributes={"subPath": "train"}))
        for path in node.config.record_dir.iterdir():
            path.unlink()
        publisher = await node.driver()
        assert target in node.sources.used()
        await publisher.publish(call_of(target, attributes={"subPath": "train"}))
        assert node.is_published(target, "train")
        assert publisher.published_at("volume-1", target).snapshot_id == SNAPSHOT

    play(scenario)


def test_something_else_at_a_target_is_not_covered_and_not_taken_off() -> None:
    async def scenario(node: FakeNode, publisher: Publisher) -> None:
        target = node.target()
        target.mkdir()
        node.mounts.mount(target)
        with pytest.raises(AlreadyPublishedError, match="something else"):
            await publisher.publish(call_of(target))
        assert len(node.mounts.at(target)) == 1
        assert node.sources.used() == set()

    play(scenario)


def test_what_does_not_lie_below_the_kubelets_directory_is_left_alone() -> None:
    async def scenario(node: FakeNode, publisher: Publisher) -> None:
        elsewhere = node.root / "elsewhere"
        with pytest.raises(InvalidArgumentError, match="--kubelet-dir"):
            await publisher.publish(call_of(elsewhere))
        node.mounts.mount(elsewhere)
        await publisher.unpublish("volume-1", elsewhere)
        assert node.mounts.at(elsewhere)

    play(scenario)
