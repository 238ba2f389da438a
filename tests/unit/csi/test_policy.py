from __future__ import annotations

import pytest

from csi.errors import DeniedError
from csi.policy import AllowList, check_allowed

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
