"""Free memory goes back to the system once nothing is fetched any more."""

from __future__ import annotations

import subprocess
import sys

from cachesvc.heap import Lull
from cachesvc.spawn import service_environment

HOARD = """
from cachesvc.heap import give_back

def private_mib():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon")) >> 10

ranges = [b"x" * (8 << 20) for _ in range(8)]
top = b"x" * (1 << 20)
held = private_mib()
del ranges
kept = private_mib()
give_back()
print(held, kept, private_mib())
"""


def test_a_lull_begins_once_after_each_time_of_growth() -> None:
    lull = Lull()
    assert [lull.begins(count) for count in (0, 0, 1, 2, 2, 2, 3, 3)] == [
        *(False, False, False, False, True),
        *(False, False, True),
    ]


def test_the_services_heap_keeps_freed_ranges_until_told_to_give_them_back() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HOARD],
        env=service_environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    held, kept, left = map(int, done.stdout.split())
    assert kept > held - 8
    assert left < held - 56
