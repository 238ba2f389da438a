from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from csi.config import DriverConfig, parse_endpoint, read_allow_list
from csi.errors import ConfigurationError

GOOD = DriverConfig(Path("/kubelet/plugins/csi.headrace.dev/csi.sock"), "node-1")


@pytest.mark.parametrize("text", ["unix:///a/csi.sock", "unix:/a/csi.sock"])
def test_an_endpoint_is_an_absolute_path_of_a_unix_socket(text: str) -> None:
    assert parse_endpoint(text) == Path("/a/csi.sock")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/a/csi.sock",
        "unix://a/csi.sock",
        "unix:a",
        "unix:////a",
        "unix:@a",
        "tcp://0:1",
        "unix:",
    ],
)
def test_what_else_grpc_would_take_for_an_endpoint_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"unix:///path/to/csi\.sock"):
        parse_endpoint(text)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"driver_name": "9.headrace"}, "is no driver's name"),
        ({"driver_name": "a" * 64}, "is no driver's name"),
        ({"driver_name": "csi.headrace."}, "is no driver's name"),
        ({"node_name": ""}, "HEADRACE_CSI_NODE_NAME"),
        ({"node_name": "n" * 257}, "longer than 256 bytes"),
        ({"state_dir": Path("state")}, "state must be an absolute path"),
        ({"cache_dir": Path("cache")}, "cache must be an absolute path"),
        ({"endpoint": Path("/" + "d" * 107)}, "107 bytes"),
        ({"kubelet_dir": Path("/" + "d" * 90)}, "107 bytes"),
        ({"link_dir": Path("/" + "d" * 100)}, "107 bytes"),
        ({"workers": 0}, "workers must be at least 1, not 0"),
        ({"grace_seconds": -1}, "grace_seconds must be at least 0"),
        ({"hang_budget_seconds": 0}, "hang_budget_seconds must be at least 1"),
        ({"startup_taint": "not a key"}, "no key of a taint"),
        ({"sts_endpoint": "http://user:word@host"}, "nothing secret"),
    ],
)
def test_settings_that_cannot_work_are_named(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        replace(GOOD, **changes)


def test_a_usual_taint_is_one() -> None:
    assert replace(GOOD, startup_taint="csi.headrace.dev/agent-not-ready").startup_taint


def test_drafts_lie_beside_the_sockets_directory_which_holds_nothing_else() -> None:
    assert GOOD.draft_dir == Path("/kubelet/plugins/.csi.headrace.dev")


def test_an_allow_list_is_read_from_json_and_toml(tmp_path: Path) -> None:
    as_json, as_toml = tmp_path / "list.json", tmp_path / "list.toml"
    as_json.write_text('{"research": ["s3://a/", "s3://b/*"], "*": []}')
    as_toml.write_text('research = ["s3://a/", "s3://b/*"]\n"*" = []\n')
    expected = {"research": ("s3://a/", "s3://b/*"), "*": ()}
    assert read_allow_list(as_json) == expected
    assert read_allow_list(as_toml) == expected


@pytest.mark.parametrize("text", ["{", "[]", '{"a": "s3://b"}', '{"a": [1]}', "\xff"])
def test_an_allow_list_that_is_none_allows_nothing_but_an_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "list.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(ConfigurationError, match=r"list\.json"):
        read_allow_list(path)


def test_an_allow_list_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot read"):
        read_allow_list(tmp_path / "missing.json")
