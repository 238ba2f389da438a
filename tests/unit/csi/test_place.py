from __future__ import annotations

import pytest

from csi.errors import InvalidArgumentError
from csi.place import canonical_place, split_name


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("s3://bucket/data", "s3://bucket/data"),
        ("S3://bucket/data/", "s3://bucket/data"),
        ("s3a://bucket", "s3://bucket"),
        ("gcs://bucket/x", "gs://bucket/x"),
        ("https://host:8080/x", "https://host:8080/x"),
        ("abfss://fs@account.dfs.core.windows.net/x", "abfss://fs@account.dfs.core.windows.net/x"),
        ("http://[fd00:0:0:0:0:0:0:1]:9000/x", "http://[fd00:0:0:0:0:0:0:1]:9000/x"),
        ("/data/x", "file:///data/x"),
        ("file:///data/x", "file:///data/x"),
        ("local:///data/x", "file:///data/x"),
    ],
)
def test_a_place_has_one_spelling(text: str, place: str) -> None:
    assert canonical_place(text) == place


@pytest.mark.parametrize(
    "text",
    [
        "",
        "bucket/data",
        "file:/etc",
        "file://etc",
        "s3://",
        "s3:///data",
        "s3://bucket/a/../b",
        "s3://bucket/./b",
        "https://host/a/%2e%2e/b",
        "https://host/a%2f..%2fb",
        "simplecache::s3://bucket/a",
        "s3://bucket/a::file:///etc",
        "https://host/a?query",
        "s3://bucket/a\nb",
        "/data/../etc",
    ],
)
def test_what_could_be_read_as_another_place_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgumentError):
        canonical_place(text)


@pytest.mark.parametrize(
    "text",
    [
        "https://user:canary@host/x",
        "https://user:canary@host",
        "s3://AKIA:canary@bucket/x",
        "s3://AKIA:canary@bucket",
        "abfss://user:canary@account/x",
    ],
)
def test_credentials_in_a_url_are_refused_and_not_repeated(text: str) -> None:
    place, _ = split_name(text)
    with pytest.raises(InvalidArgumentError, match="nodePublishSecretRef") as caught:
        canonical_place(place)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "place", "name"),
    [
        ("s3://bucket/data@v3", "s3://bucket/data", "v3"),
        ("s3://bucket/data", "s3://bucket/data", None),
        ("s3://bucket@v3", "s3://bucket", "v3"),
        ("s3://bucket/a@b/c", "s3://bucket/a@b/c", None),
        ("s3://bucket/a@b@c", "s3://bucket/a@b", "c"),
        ("s3://bucket/a@", "s3://bucket/a@", None),
        ("https://user@host", "https://user@host", None),
        ("https://host/x@v3", "https://host/x", "v3"),
        ("abfss://fs@account", "abfss://fs@account", None),
        ("/data/x@v3", "/data/x", "v3"),
    ],
)
def test_the_name_follows_the_last_at(text: str, place: str, name: str | None) -> None:
    assert split_name(text) == (place, name)
