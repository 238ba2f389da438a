"""Which paths a pattern means."""

from __future__ import annotations

import pytest

from cachesvc.errors import UsageError
from vfs.mounting.patterns import PathPattern


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("**", "a", True),
        ("**", "a/b/c", True),
        ("*.jpg", "a.jpg", True),
        ("*.jpg", "d/a.jpg", False),
        ("**/*.jpg", "a.jpg", True),
        ("**/*.jpg", "d/e/a.jpg", True),
        ("d/*.jpg", "d/a.jpg", True),
        ("d/*.jpg", "d/e/a.jpg", False),
        ("d/**/a", "d/a", True),
        ("d/**/a", "d/e/f/a", True),
        ("d", "d/e/f", True),
        ("d/", "d/e", True),
        ("./d/./e", "d/e", True),
        ("d", "dd/e", False),
        ("d?", "d", False),
        ("[ab]", "b", True),
        ("", "a/b", True),
        ("a.b", "axb", False),
        ("caf\udce9", b"caf\xe9", True),
        ("caf?", b"caf\xe9", True),
    ],
)
def test_a_path_matches_or_not(pattern: str, path: str | bytes, expected: bool) -> None:
    found = PathPattern(pattern).matches(path if isinstance(path, bytes) else path.encode())
    assert found == expected


@pytest.mark.parametrize(
    ("pattern", "base"),
    [("**", b""), ("a/b", b"a/b"), ("a/b/*.jpg", b"a/b"), ("a/[b]/c", b"a"), ("", b"")],
)
def test_a_search_begins_where_the_pattern_does(pattern: str, base: bytes) -> None:
    assert PathPattern(pattern).base == base


def test_a_pattern_that_leaves_the_mount_is_refused() -> None:
    with pytest.raises(UsageError, match="stay within"):
        PathPattern("a/../../b")
