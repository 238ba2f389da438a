from __future__ import annotations

import pytest

from csi.attributes import KNOWN, Attributes, parse_attributes
from csi.errors import InvalidArgumentError

DATASET = {"dataset": "s3://bucket/data"}


def test_a_dataset_is_all_that_is_needed() -> None:
    assert parse_attributes(DATASET) == Attributes("s3://bucket/data", name="main")


def test_every_attribute_is_read() -> None:
    words = {
        "dataset": "S3://bucket/data/",
        "ref": "v3",
        "repository": "s3://bucket/repo/",
        "subPath": "train//a/./b/",
        "uid": "1000",
        "gid": "0",
        "mode": "0440",
        "readAhead": "8Mi",
        "prefetch": "*.parquet",
        "exec": "true",
        "workers": "2",
        "deadline": "30s",
        "endpoint": "http://store:9000/",
        "region": "eu-central-1",
        "roleArn": "arn:aws:iam::123456789012:role/team/reader",
    }
    assert words.keys() | {"snapshot"} == KNOWN
    assert parse_attributes(words) == Attributes(
        dataset="s3://bucket/data",
        name="v3",
        repository="s3://bucket/repo",
        sub_path="train/a/b",
        uid=1000,
        gid=0,
        mode=0o440,
        read_ahead_kib=8192,
        prefetch="*.parquet",
        executable=True,
        workers=2,
        deadline_seconds=30.0,
        endpoint="http://store:9000",
        region="eu-central-1",
        role_arn="arn:aws:iam::123456789012:role/team/reader",
    )


@pytest.mark.parametrize(
    "words",
    [
        {"dataset": "s3://bucket/data@v3"},
        {"dataset": "s3://bucket/data", "ref": "v3"},
        {"dataset": "s3://bucket/data/", "ref": "v3", "csi.storage.k8s.io/pod.name": "p"},
        {
            "dataset": "s3://bucket/data@v3",
            "storage.kubernetes.io/csiProvisionerIdentity": "17-csi.headrace.dev",
        },
    ],
)
def test_two_ways_to_say_the_same_are_equal(words: dict[str, str]) -> None:
    assert parse_attributes(words) == Attributes("s3://bucket/data", "v3")


def test_a_snapshot_is_named_by_its_id() -> None:
    assert parse_attributes({**DATASET, "snapshot": "ab12cd34"}).name == "ab12cd34"


@pytest.mark.parametrize("words", [{"prefetch": "none"}, {"subPath": ""}, {"subPath": "./"}])
def test_what_is_the_default_anyway_is_equal_to_not_saying_it(words: dict[str, str]) -> None:
    assert parse_attributes({**DATASET, **words}) == parse_attributes(DATASET)


def test_an_unknown_attribute_is_named() -> None:
    with pytest.raises(InvalidArgumentError, match=r"'datset' is not known.*dataset"):
        parse_attributes({"datset": "s3://bucket/data"})


@pytest.mark.parametrize("words", [{}, {"dataset": ""}, {"ref": "v1"}])
def test_a_dataset_must_be_given(words: dict[str, str]) -> None:
    with pytest.raises(InvalidArgumentError, match="'dataset' is missing"):
        parse_attributes(words)


@pytest.mark.parametrize(
    "words",
    [
        {"dataset": "s3://bucket/data@v3", "ref": "v3"},
        {"dataset": "s3://bucket/data@v3", "snapshot": "ab12cd34"},
        {"dataset": "s3://bucket/data", "ref": "v3", "snapshot": "ab12cd34"},
    ],
)
def test_the_snapshot_is_named_once(words: dict[str, str]) -> None:
    with pytest.raises(InvalidArgumentError, match="twice"):
        parse_attributes(words)


@pytest.mark.parametrize(
    ("key", "word"),
    [
        ("dataset", "bucket/data"),
        ("ref", ""),
        ("ref", "a/b"),
        ("ref", "v3@v4"),
        ("snapshot", "abc"),
        ("snapshot", "main"),
        ("repository", "repo"),
        ("subPath", "../x"),
        ("subPath", "a/../../x"),
        ("subPath", "/etc"),
        ("subPath", "a\0b"),
        ("uid", "-1"),
        ("uid", "root"),
        ("uid", "4294967295"),
        ("gid", "٣"),
        ("mode", "888"),
        ("mode", "4755"),
        ("readAhead", "2Gi"),
        ("readAhead", "4MB"),
        ("prefetch", ""),
        ("exec", "yes"),
        ("workers", "0"),
        ("workers", "65"),
        ("deadline", "0s"),
        ("deadline", "2h"),
        ("endpoint", "store:9000"),
        ("region", "EU"),
        ("roleArn", "reader"),
    ],
)
def test_what_is_not_understood_is_named(key: str, word: str) -> None:
    with pytest.raises(InvalidArgumentError, match=f"'{key}'"):
        parse_attributes({**DATASET, key: word})


def test_an_endpoint_with_a_password_is_not_repeated() -> None:
    with pytest.raises(InvalidArgumentError, match="'endpoint'") as caught:
        parse_attributes({**DATASET, "endpoint": "http://user:canary@store"})
    assert "canary" not in str(caught.value)
