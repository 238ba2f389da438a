"""Signatures of GETs, beside botocore's."""

from __future__ import annotations

import calendar
import time
from urllib.parse import quote

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from cachesvc.objectstore.s3_signature import Signer

HOST = "store.example:9000"


@pytest.mark.parametrize("token", [None, "session/token=="])
@pytest.mark.parametrize("key", ["plain", "a b/ü+%&=~'()*!", "dir//x", "line\nfeed", "x?y#z"])
def test_a_get_is_signed_as_botocore_signs_it(key: str, token: str | None) -> None:
    path = f"/bucket/{quote(key, safe='/~')}"
    request = AWSRequest(method="GET", url=f"http://{HOST}{path}")
    S3SigV4Auth(Credentials("KEY", "secret", token), "s3", "mars-1").add_auth(request)
    moment = calendar.timegm(time.strptime(request.headers["X-Amz-Date"], "%Y%m%dT%H%M%SZ"))
    headers = Signer("KEY", "secret", token, "mars-1").headers(HOST, path, moment)
    theirs = request.headers["Authorization"].replace(", ", ",")
    assert headers["authorization"] == theirs
    assert headers["x-amz-date"] == request.headers["X-Amz-Date"]
    assert headers.get("x-amz-security-token") == token


def test_a_new_day_has_a_new_key() -> None:
    signer = Signer("KEY", "secret", None, "mars-1")
    first, second = (signer.headers(HOST, "/b/k", moment) for moment in (0.0, 86_400.0))
    fresh = Signer("KEY", "secret", None, "mars-1").headers(HOST, "/b/k", 86_400.0)
    assert second == fresh != first


def test_without_a_key_nothing_is_signed() -> None:
    assert Signer.of({"region": "mars-1"}) is None


def test_a_signer_shows_no_secret() -> None:
    signer = Signer("KEY", "hidden-secret", "hidden-token", "mars-1")
    signer.headers(HOST, "/b/k", 0.0)
    assert "hidden" not in repr(signer)
