from __future__ import annotations

from pathlib import Path

from bench.lookups import look_up, with_missing


def test_every_other_name_is_missing() -> None:
    names = with_missing(["a", "b"])
    assert names[::2] == ["a", "b"]
    assert not {"a", "b"} & set(names[1::2])


def test_names_are_forgotten_before_they_are_looked_up_again(tmp_path: Path) -> None:
    forgotten: list[Path] = []
    look_up(tmp_path, with_missing(["a", "b"]), 10, forgotten.append)
    assert forgotten == [tmp_path] * 3
