"""What a person writes, and the origin that it means."""

from __future__ import annotations

import json
import os
import traceback
from pathlib import Path

import pytest

from cachesvc.errors import AccessDeniedError, OutsideOriginError, UsageError
from cachesvc.objectstore.origin import Origin, child_origin, parse_origin

SECRETS = {"AWS_ACCESS_KEY_ID": "AKIAVISIBLE", "AWS_SECRET_ACCESS_KEY": "s3cr3t"}
OFFLINE = {"AWS_EC2_METADATA_DISABLED": "true", "HOME": "/nonexistent"}


def s3(options: dict[str, str] | None = None, **environ: str) -> Origin:
    return parse_origin("s3://bucket/data", options or {}, {**OFFLINE, **environ})


def home_with(directory: Path, **files: str) -> dict[str, str]:
    (directory / ".aws").mkdir()
    for name, text in files.items():
        (directory / ".aws" / name).write_text(text)
    return {**OFFLINE, "HOME": str(directory)}


@pytest.mark.parametrize("form", ["{}", "file://{}", "file:{}", "{}/", "local://{}"])
def test_a_path_and_its_urls_are_one_origin(form: str, tmp_path: Path) -> None:
    assert parse_origin(form.format(tmp_path)).root == f"file://{tmp_path}"


def test_a_relative_path_is_taken_from_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse_origin("data").url == f"file://{tmp_path}/data"


def test_a_symlink_is_the_directory_it_points_to(tmp_path: Path) -> None:
    (tmp_path / "v2").mkdir()
    (tmp_path / "current").symlink_to("v2")
    assert parse_origin(str(tmp_path / "current")).root == f"file://{tmp_path}/v2"


def test_the_endpoint_is_part_of_the_root() -> None:
    assert s3(AWS_ENDPOINT_URL="http://minio:9000/").root == "s3://minio:9000/bucket/data"
    assert s3(AWS_ENDPOINT_URL="https://minio").root == "s3://minio/bucket/data"
    assert s3(AWS_ENDPOINT_URL="https://minio:443").root == "s3://minio/bucket/data"
    assert s3(AWS_ENDPOINT_URL="http://minio").root == "s3://minio:80/bucket/data"
    assert s3(AWS_REGION="eu-west-1").root == "s3://s3.eu-west-1.amazonaws.com/bucket/data"


def test_an_option_wins_over_the_environment_and_s3s_own_variable_over_the_general_one() -> None:
    both = {"AWS_ENDPOINT_URL": "http://general", "AWS_ENDPOINT_URL_S3": "http://own"}
    assert s3(None, **both).options["endpoint_url"] == "http://own"
    given = {"endpoint_url": "http://given", "region": "r1"}
    assert s3(given, AWS_REGION="r2", **both).options["endpoint_url"] == "http://given"
    assert s3(given, AWS_REGION="r2", **both).options["region"] == "r1"
    assert s3(AWS_DEFAULT_REGION="r3").options["region"] == "r3"


def test_credentials_come_from_the_environment() -> None:
    found = s3(None, **SECRETS, AWS_SESSION_TOKEN="t0k3n").options
    assert (found["key"], found["secret"], found["token"]) == ("AKIAVISIBLE", "s3cr3t", "t0k3n")


def test_without_credentials_requests_are_anonymous() -> None:
    assert s3().options["anon"] == "true"
    assert "key" not in s3({"anon": "true"}, **SECRETS).options


def test_profiles_are_read_from_the_files(tmp_path: Path) -> None:
    environ = home_with(
        tmp_path,
        config="[profile lab]\nregion = eu-north-1\nendpoint_url = http://lab:9000\n",
        credentials="[lab]\naws_access_key_id = LABKEY\naws_secret_access_key = labsecret\n",
    )
    for options, more in [({"profile": "lab"}, SECRETS), ({}, {"AWS_PROFILE": "lab"})]:
        found = parse_origin("s3://bucket", options, {**environ, **more}).options
        assert (found["key"], found["region"]) == ("LABKEY", "eu-north-1")
        assert found["endpoint_url"] == "http://lab:9000"
        assert "profile" not in found


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"AWS_REGION": "eu-west-1"},
        {"AWS_ENDPOINT_URL": "http://general", "AWS_ENDPOINT_URL_S3": "http://own"},
        {"AWS_ENDPOINT_URL": "http://general", "AWS_ENDPOINT_URL_S3": ""},
        {"AWS_SESSION_TOKEN": "t0k3n", "AWS_DEFAULT_REGION": "r3"},
    ],
)
def test_without_files_botocore_would_have_found_the_same(
    environ: dict[str, str], tmp_path: Path
) -> None:
    """Who gave everything need not wait for botocore, which an empty file brings in."""
    empty = home_with(tmp_path, config="")
    for given in (environ, {**environ, **SECRETS}):
        assert s3(None, **given).options == s3(None, **{**given, **empty}).options


def test_a_file_has_its_say_beside_credentials_that_are_given(tmp_path: Path) -> None:
    home = home_with(tmp_path, config="[default]\nregion = r4\nendpoint_url = http://filed\n")
    found = s3(None, **{**home, **SECRETS}).options
    assert (found["region"], found["endpoint_url"]) == ("r4", "http://filed")


def test_a_credential_process_that_fails_is_reported(tmp_path: Path) -> None:
    environ = home_with(tmp_path, config="[default]\ncredential_process = /bin/false\n")
    with pytest.raises(AccessDeniedError, match="AWS credentials"):
        parse_origin("s3://bucket", {}, environ)


def test_addressing_is_by_path_at_an_endpoint_and_virtual_at_aws() -> None:
    assert s3(AWS_ENDPOINT_URL="http://minio").options["addressing_style"] == "path"
    assert s3().options["addressing_style"] == "virtual"
    assert parse_origin("s3://a.b/c", {}, OFFLINE).options["addressing_style"] == "path"
    told = {"addressing_style": "virtual", "endpoint_url": "http://minio"}
    assert s3(told).options["addressing_style"] == "virtual"


@pytest.mark.parametrize(
    "options",
    [
        {"engine": "curl"},
        {"anon": "perhaps"},
        {"anon": "true", "key": "k"},
        {"addressing_style": "round"},
        {"endpoint_url": "minio:9000"},
        {"endpoint_url": "ftp://minio"},
        {"endpoint_url": "http://user:pass@minio"},
        {"endpoint_url": "http://minio:port"},
        {"key": "only"},
        {"secret": "only"},
        {"profile": "nobody"},
        {"requester_pays": "true", "engine": "obstore"},
    ],
    ids=str,
)
def test_a_bad_option_is_named(options: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="storage option") as caught:
        s3(options)
    assert any(name in str(caught.value) for name in options)
    assert "pass@" not in str(caught.value)


def test_half_of_the_credentials_in_the_environment_are_named() -> None:
    with pytest.raises(UsageError, match="AWS_SECRET_ACCESS_KEY"):
        s3(AWS_ACCESS_KEY_ID="alone")


@pytest.mark.parametrize(
    "source",
    ["s3://", "s3://key:secret@bucket", "s3://bucket/../x", "a::s3://b", "", "http://u:p@host/x"],
)
def test_a_source_that_makes_no_sense_is_refused(source: str) -> None:
    with pytest.raises((UsageError, OutsideOriginError)) as caught:
        parse_origin(source, {}, OFFLINE)
    assert "secret" not in str(caught.value)


def test_a_local_directory_takes_no_options(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="region"):
        parse_origin(str(tmp_path), {"region": "x"})


def test_free_options_are_for_fsspec_and_tell_places_apart() -> None:
    plain, other = s3(), s3({"requester_pays": "true"})
    assert other.free_options == {"requester_pays": "true"}
    assert plain.root != other.root
    assert s3({"requester_pays": "true"}).root == other.root


def test_credentials_do_not_change_the_identity() -> None:
    assert s3(None, **SECRETS).root == s3().root


def test_no_secret_is_shown() -> None:
    origin = s3({"password": "hunter2"}, **SECRETS, AWS_SESSION_TOKEN="t0k3n")
    shown = f"{origin} {origin!r} {origin.root} {[origin]}"
    assert not any(secret in shown for secret in ("s3cr3t", "t0k3n", "hunter2", "AKIAVISIBLE"))
    try:
        raise UsageError(str(origin))
    except UsageError:
        assert "s3cr3t" not in traceback.format_exc()


@pytest.mark.parametrize(
    "name", ["plain", "two words", "ümläut", "100%41", "\udcff\udcfe", "a#b?c"]
)
def test_an_origin_survives_the_wire(name: str, tmp_path: Path) -> None:
    origin = parse_origin(f"{tmp_path}/{name}")
    wire = json.loads(json.dumps(origin.to_wire()).encode("ascii"))
    assert Origin.from_wire(wire) == origin
    assert Origin.from_wire(s3(None, **SECRETS).to_wire()) == s3(None, **SECRETS)


@pytest.mark.parametrize("wire", [{}, {"url": 1, "options": {}}, {"url": "x", "options": {"a": 1}}])
def test_a_malformed_wire_form_is_refused(wire: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        Origin.from_wire(wire)


def test_a_child_lies_below_and_is_asked_the_same_way() -> None:
    parent = s3(None, **SECRETS)
    child = child_origin(parent, ".headrace")
    assert child.root == f"{parent.root}/.headrace"
    assert child.options == parent.options
    for escape in ("..", "../x", "/x", "a/../../x", ""):
        with pytest.raises(OutsideOriginError):
            child_origin(parent, escape)


def test_the_environment_is_read_when_none_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**OFFLINE, "AWS_ENDPOINT_URL": "http://here"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    assert "AWS_ENDPOINT_URL" in os.environ
    assert parse_origin("s3://bucket").options["endpoint_url"] == "http://here"
