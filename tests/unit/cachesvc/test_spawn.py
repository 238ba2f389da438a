"""Starting the service as people's commands do, and `headrace cache` on it."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cachesvc.cli import cache
from cachesvc.config import CacheConfig
from cachesvc.errors import CacheServiceError, CacheUnusableError
from cachesvc.spawn import (
    config_from_json,
    config_to_json,
    ensure_service,
    service_environment,
    service_pid,
    service_starting,
)
from cachesvc.units import MIB

HEADRACE = Path(sys.executable).with_name("headrace")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CacheConfig]:
    """A cache whose service was started in the background."""
    settings = CacheConfig(tmp_path_factory.mktemp("spawned") / "cache", size=64 * MIB)
    ensure_service(settings)
    yield settings
    if service_pid(settings.directory) is not None:
        invoke("stop", settings.directory)


def invoke(verb: str, directory: Path, *words: str) -> Result:
    return CliRunner().invoke(
        cache, [verb, "--cache-dir", str(directory), *words], catch_exceptions=False
    )


def asked(verb: str, directory: Path) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(invoke(verb, directory, "--json").output)
    return answer


def test_a_running_service_is_not_started_again(config: CacheConfig) -> None:
    before = service_pid(config.directory)
    ensure_service(config)
    assert service_pid(config.directory) == before


def test_a_service_starts_while_something_else_is_done_and_answers_then(tmp_path: Path) -> None:
    config = CacheConfig(tmp_path / "cache", size=64 * MIB)
    with service_starting(config):
        assert service_pid(config.directory) is None
    assert service_pid(config.directory) is not None
    assert invoke("stop", config.directory).exit_code == 0


def test_a_service_that_runs_is_not_started_meanwhile(config: CacheConfig) -> None:
    before = service_pid(config.directory)
    with service_starting(config):
        pass
    assert service_pid(config.directory) == before


def test_a_service_that_somebody_else_starts_is_waited_for(tmp_path: Path) -> None:
    config = CacheConfig(tmp_path / "cache", size=64 * MIB)
    with service_starting(config), service_starting(config):
        pass
    assert service_pid(config.directory) is not None
    assert invoke("stop", config.directory).exit_code == 0


def test_why_a_service_did_not_start_shows_when_all_else_is_done(tmp_path: Path) -> None:
    config = CacheConfig(tmp_path / "cache")
    config.directory.mkdir()
    config.lock.mkdir()
    done = []
    with pytest.raises(CacheServiceError, match="did not start"), service_starting(config):
        done.append("all else")
    assert done == ["all else"]


def test_what_goes_wrong_meanwhile_counts_more_than_the_service(tmp_path: Path) -> None:
    config = CacheConfig(tmp_path / "cache")
    config.directory.mkdir()
    config.lock.mkdir()
    with pytest.raises(KeyError), service_starting(config):
        raise KeyError("it went wrong")


def test_the_service_is_a_process_of_its_own_session(config: CacheConfig) -> None:
    pid = service_pid(config.directory)
    assert pid is not None
    assert os.getsid(pid) not in {0, os.getsid(0)}


def test_the_service_may_open_as_many_descriptors_as_there_may_be(tmp_path: Path) -> None:
    """One for each of 4,096 clients and each range that is on its way."""
    config = CacheConfig(tmp_path / "cache", size=64 * MIB)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits[0] // 2, limits[1]))
    try:
        ensure_service(config)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    pid = service_pid(config.directory)
    assert pid is not None
    try:
        assert resource.prlimit(pid, resource.RLIMIT_NOFILE) == (limits[1], limits[1])
    finally:
        assert invoke("stop", config.directory).exit_code == 0


def test_a_second_service_fails_with_one_line(config: CacheConfig) -> None:
    done = subprocess.run(
        [HEADRACE, "cache", "serve", "--cache-dir", config.directory],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
    assert "another cache service holds" in done.stderr


def test_the_services_environment_holds_no_credentials() -> None:
    environ = {"AWS_SECRET_ACCESS_KEY": "s3cret", "AWS_PROFILE": "me", "HOME": "/root"}
    cleaned = service_environment(environ)
    assert "s3cret" not in cleaned.values()
    assert "AWS_PROFILE" not in cleaned
    assert cleaned["HOME"] == "/root"


def test_a_directory_that_cannot_be_made_is_an_error_with_a_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CacheUnusableError, match="--cache-dir"):
        ensure_service(CacheConfig(tmp_path / "file" / "cache"))


def test_a_configuration_survives_its_way_to_the_process() -> None:
    config = CacheConfig(Path("/a b"), size=5, deadline_seconds=1.5)
    assert config_from_json(config_to_json(config)) == config


def test_stats_verify_and_gc_answer_with_and_without_a_service(tmp_path: Path) -> None:
    config = CacheConfig(tmp_path / "cache", size=64 * MIB)
    ensure_service(config)
    served = [asked(verb, config.directory) for verb in ("stats", "verify", "gc")]
    assert invoke("stop", config.directory).exit_code == 0
    assert service_pid(config.directory) is None
    alone = [asked(verb, config.directory) for verb in ("stats", "verify", "gc")]
    assert [set(answer) - set(other) for answer, other in zip(alone, served, strict=True)] == [
        set()
    ] * 3
    assert served[0]["generation"] == alone[0]["generation"]


def test_stats_for_a_person_names_what_it_counts(config: CacheConfig) -> None:
    assert "chunk count" in invoke("stats", config.directory).output


def test_stopping_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CacheServiceError, match="no cache service runs"):
        invoke("stop", tmp_path)


def test_looking_at_a_cache_does_not_make_one(tmp_path: Path) -> None:
    with pytest.raises(CacheUnusableError, match="there is no cache"):
        invoke("stats", tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
