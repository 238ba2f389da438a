from __future__ import annotations

from bench.scenarios.workers import shares_of


def test_each_reader_has_a_share_and_no_file_is_read_twice() -> None:
    paths = [str(number) for number in range(10)]
    shares = shares_of(paths, 4)
    assert len(shares) == 4
    assert [path for share in shares for path in share] == paths
