"""Sizes and directories as people write them."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from cachesvc.config import CacheConfig
from cachesvc.metrics import HELP, Metrics
from cachesvc.options import SizeType, cache_options, default_directory


@pytest.mark.parametrize(
    ("word", "size"),
    [("1", 1), ("500M", 500 << 20), ("50G", 50 << 30), ("1.5 TiB", 3 << 39), ("2kb", 2048)],
)
def test_a_size_is_a_number_and_a_unit(word: str, size: int) -> None:
    assert SizeType().convert(word, None, None) == size


@pytest.mark.parametrize("word", ["", "G", "-1", "5X", "1e9"])
def test_anything_else_is_wrong_use(word: str) -> None:
    with pytest.raises(click.BadParameter):
        SizeType().convert(word, None, None)


def test_the_directory_is_the_one_named_else_the_users() -> None:
    assert default_directory({"HEADRACE_CACHE_DIR": "/a", "XDG_CACHE_HOME": "/b"}) == Path("/a")
    assert default_directory({"XDG_CACHE_HOME": "/b"}) == Path("/b/headrace")
    assert default_directory({}) == Path.home() / ".cache/headrace"


def test_a_command_gets_the_settings_as_one_value() -> None:
    seen: list[CacheConfig] = []

    @click.command()
    @cache_options
    def command(cache: CacheConfig) -> None:
        seen.append(cache)

    done = CliRunner().invoke(command, ["--cache-dir", "/c", "--cache-size", "1G"])
    assert (done.exit_code, seen) == (0, [CacheConfig(Path("/c"), 1 << 30)])
    assert CliRunner().invoke(command, ["--cache-size", "1M"]).exit_code == 2


def test_every_counter_is_documented() -> None:
    assert set(HELP) == set(Metrics().as_dict())
