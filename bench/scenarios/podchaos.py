"""Pods of a Kubernetes node read and verify while everybody who serves them dies and hangs."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.crowding import left_on
from bench.podchaosreport import Seen, report
from bench.report import Report
from tests.csi.blows import Blow, PodDose
from tests.csi.bucket import Bucket, new_bucket, write_files
from tests.csi.cluster import ClusterNode, cluster_node
from tests.csi.containers import Container, containers
from tests.csi.crowd import Claim, Crowd
from tests.csi.harm import Harm
from tests.csi.pods import Pod
from tests.seaweed import SeaweedServer, seaweed

PODS = 20
DATASETS = 3
FILES = 300
FILES_IN_DIRECTORY = 50
LARGEST_FILE = 100_000
PAUSE_SECONDS = 0.05
"""Between two files of a reader: who recovers needs a processor too."""
HANG_BUDGET_SECONDS = 5
SAY_EVERY = 10


@dataclass(frozen=True, slots=True)
class Dataset:
    """A published dataset and all that is in it."""

    bucket: Bucket
    files: dict[str, bytes]


def run(scratch: Path, dose: PodDose, seconds: float, say: Callable[[str], None]) -> Report:
    """Deal out *dose*, in at most *seconds*, and report what pods saw of it."""
    chance = random.Random(1)
    blows = dose.blows(chance)
    budget = f"--hang-budget={HANG_BUDGET_SECONDS}"
    with seaweed("bench") as server, cluster_node("--grace=0", budget) as node:
        say(f"making {DATASETS} datasets, then {len(blows)} blows")
        datasets = [make_dataset(server, scratch / f"dataset{n}", n) for n in range(DATASETS)]
        harm = Harm(node, [d.bucket.volume() for d in datasets], HANG_BUDGET_SECONDS, chance)
        crowds = [published(node, datasets, number) for number in range(DATASETS)]
        with reading(crowds, datasets, scratch) as readers:
            failure = strike(harm, blows, time.monotonic() + seconds, say)
            reports = [] if failure else [reader.finish() for reader in readers]
        left = [] if failure else left_by(node, crowds)
        longest_stat = node.kubelet.longest_stat_seconds
    undone = len(blows) - len(harm.dealt)
    seen = Seen(reports, harm.dealt, undone, left, longest_stat, failure, HANG_BUDGET_SECONDS)
    return report(seen, PODS, DATASETS)


def make_dataset(server: SeaweedServer, directory: Path, number: int) -> Dataset:
    """Publish files of which no other dataset has any."""
    chance = random.Random(number)
    files = {
        f"d{each // FILES_IN_DIRECTORY}/{each:04}": chance.randbytes(chance.randrange(LARGEST_FILE))
        for each in range(FILES)
    }
    directory.mkdir()
    bucket = new_bucket(server, directory)
    bucket.snapshot(write_files(directory / "files", files))
    return Dataset(bucket, files)


def published(node: ClusterNode, datasets: Sequence[Dataset], number: int) -> Crowd:
    """Have the volumes of one dataset's share of all pods published."""
    count = len(range(number, PODS, len(datasets)))
    claims = [Claim(Pod(), datasets[number].bucket.volume()) for _ in range(count)]
    crowd = Crowd(node.kubelet, claims, count)
    crowd.publish()
    return crowd


@contextmanager
def reading(
    crowds: Sequence[Crowd], datasets: Sequence[Dataset], scratch: Path
) -> Iterator[list[Container]]:
    """Let a container of each pod read what its volume shows."""
    with ExitStack() as ends:
        readers: list[Container] = []
        for crowd, dataset in zip(crowds, datasets, strict=True):
            inside = scratch / f"containers{len(readers)}"
            inside.mkdir()
            made = containers(crowd.targets(), inside, dataset.files, pause_seconds=PAUSE_SECONDS)
            readers += ends.enter_context(made)
        yield readers


def left_by(node: ClusterNode, crowds: Sequence[Crowd]) -> list[str]:
    """Tear all volumes down and return what stays."""
    for crowd in crowds:
        crowd.tear_down()
    return left_on(node)


def strike(
    harm: Harm, blows: Sequence[Blow], deadline: float, say: Callable[[str], None]
) -> str | None:
    """Deal out *blows* until time is up; return what went wrong with somebody else than readers."""
    for number, blow in enumerate(blows):
        if time.monotonic() > deadline:
            break
        try:
            harm.do(blow)
        except Exception as error:  # noqa: BLE001  it is told in the report, with what readers saw
            return f"after {blow.name}: {type(error).__name__}: {error}"[:2000]
        if number % SAY_EVERY == SAY_EVERY - 1:
            say(f"{number + 1} blows")
    return None
