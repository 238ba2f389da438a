"""Pods read and verify while everybody who serves them dies, hangs and is replaced."""

from __future__ import annotations

import random
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.csi.blows import Act, Blow, PodDose
from tests.csi.bucket import Bucket, new_bucket, write_files
from tests.csi.cluster import cluster_node
from tests.csi.containers import containers
from tests.csi.crowd import Claim, Crowd
from tests.csi.harm import Harm
from tests.csi.pods import Pod
from tests.seaweed import SeaweedServer

HANG_BUDGET_SECONDS = 2
PODS_EACH = 3
PAUSE_SECONDS = 0.02
PAIRS = 6


@pytest.fixture(scope="module")
def datasets(
    s3_server: SeaweedServer, tmp_path_factory: pytest.TempPathFactory
) -> list[tuple[Bucket, dict[str, bytes]]]:
    """Two published datasets that differ in every file."""
    return [make_dataset(s3_server, tmp_path_factory.mktemp("dataset"), n) for n in range(2)]


def make_dataset(
    server: SeaweedServer, place: Path, number: int
) -> tuple[Bucket, dict[str, bytes]]:
    chance = random.Random(number)
    files = {f"d{n // 20}/{n:03}": chance.randbytes(5_000 + 301 * n) for n in range(100)}
    bucket = new_bucket(server, place)
    bucket.snapshot(write_files(place / "files", files))
    return bucket, files


def small_dose(chance: random.Random) -> list[Blow]:
    """Return each role killed once, some pairs, and one of all else."""
    blows = PodDose().blows(chance)
    single = [blow for blow in blows if blow.act is Act.KILL and len(blow.what) == 1]
    pairs = [blow for blow in blows if blow.act is Act.KILL and len(blow.what) == 2]
    others = [next(blow for blow in blows if blow.act is act) for act in Act]
    return [*single, *pairs[:PAIRS], *others]


def test_no_pod_sees_an_error_or_a_wrong_byte_whatever_happens(
    datasets: list[tuple[Bucket, dict[str, bytes]]], tmp_path: Path
) -> None:
    chance = random.Random(5)
    with (
        cluster_node("--grace=0", f"--hang-budget={HANG_BUDGET_SECONDS}") as node,
        ExitStack() as ends,
    ):
        readers, crowds = [], []
        for number, (bucket, files) in enumerate(datasets):
            claims = [Claim(Pod(), bucket.volume()) for _ in range(PODS_EACH)]
            crowds.append(Crowd(node.kubelet, claims, PODS_EACH))
            crowds[-1].publish()
            scratch = tmp_path / str(number)
            scratch.mkdir()
            targets = crowds[-1].targets()
            inside = containers(targets, scratch, files, pause_seconds=PAUSE_SECONDS)
            readers += ends.enter_context(inside)
        volumes = [bucket.volume() for bucket, _ in datasets]
        harm = Harm(node, volumes, HANG_BUDGET_SECONDS, chance)
        for blow in small_dose(chance):
            harm.do(blow)
        for reader in readers:
            report = reader.finish()
            assert (report.errors, report.wrong) == (0, 0), f"{report}\n{node.log()}"
            assert report.read > 0
        for crowd in crowds:
            crowd.tear_down()
        node.await_tidiness()
