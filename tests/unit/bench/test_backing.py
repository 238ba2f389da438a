"""Memory touched before something is measured."""

from __future__ import annotations

import subprocess
import sys

from bench.backing import touchable

SIZE = 256 << 20
PEAK = "import resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)"
NOW = "print(int(open('/proc/self/statm').read().split()[1]) * resource.getpagesize())"


def test_memory_is_touched_and_given_back() -> None:
    code = f"from bench.backing import back_memory; back_memory({SIZE}); {PEAK}; {NOW}"
    words = [sys.executable, "-c", code]
    said = subprocess.run(words, check=True, capture_output=True, text=True, timeout=60).stdout
    peak, now = map(int, said.split())
    assert peak >= SIZE
    assert now < SIZE


def test_half_of_what_is_free_is_left() -> None:
    assert touchable(300, 1_000_000) == 300
    assert touchable(800_000, 1_000_000) == 500_000
    assert touchable(800_000, 0) > 0  # a mapping of nothing is an error
