from __future__ import annotations

import pytest

from csi.errors import DeniedError
from csi.policy import AllowList, check_allowed, check_endpoint, check_repository

LIST: AllowList = {
    "research": ("s3://models", "s3://team-*/public", "/mnt/shared"),
    "*": ("https://data.example.org/open",),
}


@pytest.mark.parametrize(
    ("namespace", "place"),
    [
        ("research", "s3://models"),
        ("research", "s3://models/a/b"),
        ("research", "s3://team-a/public/x"),
        ("research", "file:///mnt/shared/x"),
        ("research", "https://data.example.org/open/x"),
        ("other", "https://data.example.org/open"),
        ("", "https://data.example.org/open"),
    ],
)
def test_a_rule_covers_the_place_and_all_below(namespace: str, place: str) -> None:
    check_allowed(LIST, namespace, place)


@pytest.mark.parametrize(
    ("namespace", "place"),
    [
        ("research", "s3://models-of-others"),
        ("research", "s3://team-a/private"),
        ("research", "s3://team-a/b/public"),
        ("research", "file:///mnt"),
        ("research", "file:///mnt/shared2"),
        ("research", "gs://models"),
        ("other", "s3://models"),
        ("*", "s3://models"),
        ("", "s3://models"),
    ],
)
def test_what_no_rule_covers_is_denied(namespace: str, place: str) -> None:
    with pytest.raises(DeniedError, match=place):
        check_allowed(LIST, namespace, place)


def test_without_a_list_all_object_storage_is_allowed() -> None:
    check_allowed(None, "any", "s3://bucket/x")


@pytest.mark.parametrize("allowed", [None, {"*": ("*",)}, {"n": ("*://*",)}])
@pytest.mark.parametrize("place", ["file:///etc", "memory://x", "reference://x"])
def test_what_is_the_nodes_own_must_be_named(allowed: AllowList | None, place: str) -> None:
    with pytest.raises(DeniedError):
        check_allowed(allowed, "n", place)


def test_an_alias_in_a_rule_means_the_same_place() -> None:
    check_allowed({"n": ("S3A://bucket/",)}, "n", "s3://bucket/x")


def test_an_empty_list_allows_nothing() -> None:
    with pytest.raises(DeniedError, match="allow-list"):
        check_allowed({}, "n", "s3://bucket")


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://s3.example.org",
        "https://S3.Example.org:443/",
        "https://s3.example.org/behind/a/gateway",
        "http://minio.storage:9000",
    ],
)
def test_an_endpoint_that_is_listed_may_be_asked(endpoint: str) -> None:
    allowed = {"n": ("https://s3.example.org", "http://minio.storage:9000", "s3://b")}
    check_endpoint(allowed, "n", endpoint)


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://s3.example.org",
        "https://s3.example.org:8443",
        "https://s3.example.org.evil.org",
        "http://169.254.169.254",
    ],
)
def test_with_a_list_no_other_endpoint_is_asked(endpoint: str) -> None:
    with pytest.raises(DeniedError, match="endpoint"):
        check_endpoint({"n": ("https://s3.example.org", "s3://*")}, "n", endpoint)
    with pytest.raises(DeniedError, match="endpoint"):
        check_endpoint({"n": ("https://s3.example.org",)}, "other", endpoint)


def test_without_a_list_or_with_all_allowed_any_endpoint_may_be_asked() -> None:
    check_endpoint(None, "n", "http://anywhere")
    check_endpoint({"n": ("*",)}, "n", "http://anywhere")


def test_a_dataset_brings_its_own_repository() -> None:
    check_repository(None, "n", "s3://b/data", "s3://b/data/.headrace")


@pytest.mark.parametrize("allowed", [None, {"n": ("*", "s3://mine")}])
def test_snapshots_from_elsewhere_are_not_trusted(allowed: AllowList | None) -> None:
    with pytest.raises(DeniedError, match="repository:s3://mine/repo"):
        check_repository(allowed, "n", "s3://b/data", "s3://mine/repo")


def test_a_repository_can_be_trusted_by_a_rule_of_its_own() -> None:
    allowed = {"n": ("repository:s3://central",)}
    check_repository(allowed, "n", "s3://b/data", "s3://central/repo")
    with pytest.raises(DeniedError):
        check_allowed(allowed, "n", "s3://central/repo")
