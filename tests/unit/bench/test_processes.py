from __future__ import annotations

import os
import time

import pytest

from bench.cost import READER, cost_of
from bench.processes import cpu_seconds, private_bytes, private_bytes_in, share_bytes_in

STATUS = """Name:\tpython3
VmRSS:\t   5000 kB
RssAnon:\t   2000 kB
RssFile:\t   2992 kB
RssShmem:\t      8 kB
"""
ROLLUP = """55f3a1815000-7ffcff378000 ---p 00000000 00:00 0                          [rollup]
Rss:                1732 kB
Pss_Anon:            116 kB
Pss_File:            180 kB
Pss_Shmem:             4 kB
"""


def test_the_cpu_clock_of_a_pid_is_that_of_the_process() -> None:
    before = time.process_time()
    seen = cpu_seconds(os.getpid())
    assert before <= seen <= time.process_time()


def test_a_process_that_is_gone_has_no_cpu_clock() -> None:
    with pytest.raises(OSError, match="Invalid argument"):
        cpu_seconds(2**22 + 1)


def test_a_share_of_memory_leaves_mapped_files_out() -> None:
    assert share_bytes_in(ROLLUP) == 120 * 1024


def test_private_memory_is_anonymous_and_shared_but_not_mapped_files() -> None:
    assert private_bytes_in(STATUS) == 2008 * 1024


def test_private_memory_of_a_live_process_can_be_read() -> None:
    assert private_bytes(os.getpid()) > 1 << 20


def test_a_cost_knows_the_roles() -> None:
    cost = cost_of(lambda: sum(range(1000)), {"server": [os.getpid()]})
    assert set(cost.cpu_seconds) == {READER, "server"}
    assert cost.seconds > 0
