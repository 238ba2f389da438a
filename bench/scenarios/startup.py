"""From the mount command to the first byte, for datasets of very different sizes.

Source and repository lie in a real S3 server behind a proxy that counts requests. Only files that
are read exist there. Every mount has a new cache directory and a new cache service.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from shutil import rmtree

from bench.commands import Headrace
from bench.measure import Samples, interleaved
from bench.report import Bar, Report, Sheet, spread
from bench.synthetic import path_of
from bench.upload import upload
from tests.fakes.faultproxy import FaultProxy, fault_proxy
from tests.seaweed import seaweed

SEED = 20
GROWTH_BAR = 1.2
PUBLISH_COLUMNS = ("files", "listing s", "publish s", "publisher's peak RSS MiB", "manifest MB")
START_COLUMNS = ("files", "read", "first byte ms", "to smallest", "requests", "at most")


class Target(StrEnum):
    """Which file is opened."""

    FIRST = "first in walk order"
    ANY = "a random one"

    def number(self, file_count: int, round_number: int) -> int:
        """Return the file's number in walk order; a random one is another in each round."""
        if self is Target.FIRST:
            return 0
        return random.Random(SEED + round_number).randrange(file_count)


@dataclass(frozen=True, slots=True)
class Publishing:
    """What publishing took, as `bench.synthetic` tells it."""

    listing_seconds: float
    publish_seconds: float
    peak_rss_bytes: int
    manifest_bytes: int


@dataclass(frozen=True, slots=True)
class Start:
    """One mount: the time to the first byte, and what was asked of the store until then."""

    seconds: float
    requests: Mapping[str, int]

    @property
    def request_count(self) -> int:
        """How many requests that were."""
        return sum(self.requests.values())


@dataclass(frozen=True, slots=True)
class Site:
    """Where the datasets lie, one for each size, and how to get there."""

    proxy: FaultProxy
    bucket_url: str
    environ: Mapping[str, str]
    scratch: Path

    def place(self, file_count: int) -> tuple[str, str]:
        """Return the URLs of a dataset and of its repository."""
        return f"{self.bucket_url}{file_count}/data", f"{self.bucket_url}{file_count}/repository"


Case = tuple[int, Target]


def run(scratch: Path, sizes: Sequence[int], rounds: int, say: Callable[[str], None]) -> Report:
    """Publish a dataset of each size and mount them in turn."""
    with seaweed("bench") as server, fault_proxy(server.endpoint) as proxy:
        environ = {**server.environ, "AWS_ENDPOINT_URL": proxy.endpoint}
        site = Site(proxy, server.url(""), environ, scratch)
        published = {}
        for file_count in sizes:
            say(f"publishing {file_count:,} files")
            put_files_to_read(site, file_count, rounds)
            published[file_count] = publish(site, file_count)
        cases = [(file_count, target) for file_count in sizes for target in Target]
        say(f"mounting {len(cases) * rounds} times")
        starts = interleaved({case: partial(start, site, case) for case in cases}, rounds)
    return report(published, starts, rounds)


def put_files_to_read(site: Site, file_count: int, rounds: int) -> None:
    """Bring the files that will be read to the store."""
    numbers = {target.number(file_count, each) for target in Target for each in range(rounds)}
    put_files(site, file_count, sorted(numbers))


def put_files(site: Site, file_count: int, numbers: Iterable[int]) -> None:
    """Bring the files of these numbers to the store."""
    paths = [path_of(number) for number in numbers]
    originals = site.scratch / "files"
    for path in paths:
        file = originals / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(path)
    upload(originals, paths, site.place(file_count)[0], site.environ)


def publish(site: Site, file_count: int) -> Publishing:
    """Publish a synthetic listing, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.synthetic", str(file_count), *site.place(file_count)],
        env=Headrace.below(site.scratch, site.environ).environ,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return Publishing(**json.loads(done.stdout))


def start(site: Site, case: Case, round_number: int) -> Start:
    """Mount with nothing cached, read one byte, and take everything down again."""
    file_count, target = case
    path = path_of(target.number(file_count, round_number))
    source, repository = site.place(file_count)
    directory = site.scratch / "node"
    directory.mkdir()
    command = Headrace.below(directory, site.environ)
    mountpoint = directory / "mount"
    with command.cache_service_stopped_after():
        before = Counter(site.proxy.requests)
        started = time.perf_counter()
        with command.mounted(mountpoint, source, "--repo", repository):
            with (mountpoint / path).open("rb", buffering=0) as file:
                first = file.read(1)
            seconds = time.perf_counter() - started
            asked = Counter(site.proxy.requests) - before
    rmtree(directory)
    if first != path[:1].encode():
        message = f"{path} begins with {first!r}"
        raise ValueError(message)
    return Start(seconds, by_purpose(asked))


def by_purpose(requests: Mapping[tuple[str, str], int]) -> dict[str, int]:
    """Count requests by method and by what they were about."""
    counts: Counter[str] = Counter()
    for (method, target), count in requests.items():
        counts[f"{method} {purpose_of(target)}"] += count
    return dict(sorted(counts.items()))


def purpose_of(target: str) -> str:
    """Return what a request's target is in a dataset's life."""
    words = {"/repository/refs/": "ref", "/repository/snapshots/": "manifest", "/data/": "data"}
    return next((word for part, word in words.items() if part in target), "else")


def report(
    published: Mapping[int, Publishing], starts: Mapping[Case, Sequence[Start]], rounds: int
) -> Report:
    """Return the tables and bars."""
    times = {case: Samples(tuple(each.seconds for each in some)) for case, some in starts.items()}
    least, most = min(published), max(published)
    growths = {case: times[case].over(times[least, case[1]]) for case in times}
    asked = {case: max(each.request_count for each in some) for case, some in starts.items()}
    return Report(
        scenario="startup",
        notes=[
            f"medians (quartiles) of {rounds} interleaved rounds; ratios are taken round by round",
            "made-up listings: only the files that are read exist",
            "S3 is SeaweedFS on this machine behind a counting proxy",
            "every mount has a new cache directory and a new cache service",
        ],
        sheets=[
            Sheet("publishing", PUBLISH_COLUMNS, [publish_row(n, published[n]) for n in published]),
            Sheet(
                "from mount command to first byte",
                START_COLUMNS,
                [start_row(case, times[case], growths[case], starts[case]) for case in starts],
            ),
        ],
        bars=[bar for target in Target for bar in bars(target, least, most, growths, asked)],
        figures={
            "publishing": {n: asdict(each) for n, each in published.items()},
            "starts": [
                {
                    "files": case[0],
                    "target": case[1],
                    "seconds": times[case],
                    "requests": [each.requests for each in starts[case]],
                }
                for case in starts
            ],
        },
    )


def bars(
    target: Target,
    least: int,
    most: int,
    growths: Mapping[Case, Samples],
    asked: Mapping[Case, int],
) -> list[Bar]:
    """Return what must not grow with the dataset."""
    what = f"{target}, {most:,} files to {least:,}"
    more = asked[most, target] - asked[least, target]
    return [
        Bar(f"{what}: time", growths[most, target].median, GROWTH_BAR, at_most=True),
        Bar(f"{what}: more requests", more, 0, at_most=True),
    ]


def publish_row(file_count: int, took: Publishing) -> list[str]:
    """Return the row of one publication."""
    return [
        f"{file_count:,}",
        f"{took.listing_seconds:.2f}",
        f"{took.publish_seconds:.2f}",
        f"{took.peak_rss_bytes / (1 << 20):.0f}",
        f"{took.manifest_bytes / 1e6:.2f}",
    ]


def start_row(case: Case, seconds: Samples, growth: Samples, some: Sequence[Start]) -> list[str]:
    """Return the row of one size and target."""
    file_count, target = case
    counts = sorted({each.request_count for each in some})
    most_asked = max(some, key=lambda each: each.request_count).requests
    return [
        f"{file_count:,}",
        target,
        spread(seconds.times(1e3), 0),
        spread(growth, 2),
        "-".join(map(str, sorted({counts[0], counts[-1]}))),
        ", ".join(f"{count} {what}" for what, count in most_asked.items()),
    ]
