from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from csi.config import DriverConfig
from csi.credentials import NODE, TOKENS, Credentials, credentials_of, identity_key
from csi.errors import InvalidArgumentError, UnauthenticatedError
from csi.volume import NOBODY, PublishCall
from tests.fakes.csi_node import call_of

SECRET = "canary-of-a-secret"
KEY = b"k" * 32
ROLE = "arn:aws:iam::123456789012:role/reader"
CONFIG = DriverConfig(Path("/csi.sock"), "node", node_identity_allowed=True)
NOW = datetime(2030, 1, 1, tzinfo=UTC)
SECRETS = {"accessKeyId": "AKIA1", "secretAccessKey": SECRET}


def call(
    secrets: Mapping[str, str] | None = None, attributes: Mapping[str, str] | None = None
) -> PublishCall:
    return call_of(Path("/pods/mount"), secrets=secrets, attributes=attributes)


def of(given: PublishCall, config: DriverConfig = CONFIG) -> Credentials:
    return credentials_of(given, config, KEY, NOW)


def tokens(
    audience: str = "sts.amazonaws.com", token: str = SECRET, expires: str = "2030-01-01T01:00:00Z"
) -> str:
    return json.dumps({audience: {"token": token, "expirationTimestamp": expires}})


def token_call(text: str | None = None) -> PublishCall:
    return call({TOKENS: tokens() if text is None else text}, {"roleArn": ROLE})


def test_without_credentials_the_node_reads() -> None:
    assert of(call()) == Credentials(NODE, None, "")


def test_the_node_reads_for_nobody_where_that_is_not_allowed() -> None:
    with pytest.raises(UnauthenticatedError, match="nodePublishSecretRef"):
        of(call(), replace(CONFIG, node_identity_allowed=False))


def test_a_secret_becomes_an_environment() -> None:
    found = of(
        call({**SECRETS, "sessionToken": "s", "endpoint": "http://h", "region": "eu-central-1"})
    )
    assert found.environment == {
        "AWS_ACCESS_KEY_ID": "AKIA1",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_SESSION_TOKEN": "s",
        "AWS_ENDPOINT_URL_S3": "http://h",
        "AWS_REGION": "eu-central-1",
    }


def test_both_spellings_of_a_secret_are_one_identity() -> None:
    spelled = {"AWS_ACCESS_KEY_ID": "AKIA1", "AWS_SECRET_ACCESS_KEY": SECRET}
    assert of(call(spelled)) == of(call(SECRETS))


def test_another_secret_is_another_identity() -> None:
    assert of(call(SECRETS)).identity != of(call({**SECRETS, "secretAccessKey": "x"})).identity


def test_the_digest_depends_on_the_nodes_key() -> None:
    theirs = credentials_of(call(SECRETS), CONFIG, b"o" * 32, NOW)
    assert theirs.digest != of(call(SECRETS)).digest


def test_an_unknown_key_of_a_secret_is_named_and_its_value_is_not() -> None:
    with pytest.raises(InvalidArgumentError, match="'password'") as caught:
        of(call({**SECRETS, "password": SECRET}))
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("missing", ["accessKeyId", "secretAccessKey"])
def test_half_a_secret_is_refused(missing: str) -> None:
    given = {name: word for name, word in SECRETS.items() if name != missing}
    with pytest.raises(UnauthenticatedError, match="add it"):
        of(call(given))


def test_a_token_takes_the_role() -> None:
    found = of(token_call())
    assert found.identity == f"sa:research/default/{ROLE}"
    assert found.environment == {
        "AWS_ROLE_ARN": ROLE,
        "AWS_ROLE_SESSION_NAME": "research.default",
        "HEADRACE_WEB_IDENTITY_TOKEN": SECRET,
    }


def test_a_fresh_token_is_the_same_identity_with_another_digest() -> None:
    old, new = of(token_call()), of(token_call(tokens(token="fresh")))
    assert old.identity == new.identity
    assert old.digest != new.digest


def test_where_pods_are_not_known_the_token_is_the_identity() -> None:
    old, new = (
        of(replace(token_call(text), pod=NOBODY)) for text in (tokens(), tokens(token="other"))
    )
    assert old.identity != new.identity


def test_a_token_in_the_context_counts_only_where_the_kubelet_sets_it() -> None:
    given = replace(call(attributes={"roleArn": ROLE}), context={TOKENS: tokens()})
    with pytest.raises(UnauthenticatedError, match="tokenRequests"):
        of(given)
    assert of(given, replace(CONFIG, tokens_from_context=True)).environment is not None


def test_a_token_in_the_secrets_comes_first() -> None:
    given = replace(token_call(), context={TOKENS: tokens(token="context")})
    environment = of(given, replace(CONFIG, tokens_from_context=True)).environment
    assert environment is not None
    assert environment["HEADRACE_WEB_IDENTITY_TOKEN"] == SECRET


def test_the_token_of_the_agreed_audience_is_taken() -> None:
    both = json.dumps({**json.loads(tokens("vault", "x")), **json.loads(tokens("aws", "y"))})
    environment = of(token_call(both), replace(CONFIG, token_audience="aws")).environment
    assert environment is not None
    assert environment["HEADRACE_WEB_IDENTITY_TOKEN"] == "y"


@pytest.mark.parametrize("text", ["", "{}", "[]", "{", '{"aws": {"token": ""}}', '{"aws": 7}'])
def test_without_a_token_there_is_no_role(text: str) -> None:
    with pytest.raises(UnauthenticatedError, match="token"):
        of(token_call(text))


def test_an_expired_token_is_refused() -> None:
    with pytest.raises(UnauthenticatedError, match="expired at 2029"):
        of(token_call(tokens(expires="2029-12-31T23:59:59Z")))


def test_a_role_and_a_secret_exclude_each_other() -> None:
    with pytest.raises(InvalidArgumentError, match="roleArn"):
        of(call(SECRETS, {"roleArn": ROLE}))


@pytest.mark.parametrize("given", [call(SECRETS), token_call()])
def test_credentials_never_show_a_secret(given: PublishCall) -> None:
    found = of(given)
    assert SECRET in str(dict(found.environment or {}))
    assert SECRET not in f"{found!r} {found}"


def test_the_key_of_the_digests_is_made_once_and_roots_alone(tmp_path: Path) -> None:
    key = identity_key(tmp_path)
    assert len(key) == 32
    assert identity_key(tmp_path) == key
    (path,) = tmp_path.iterdir()
    assert path.stat().st_mode & 0o777 == 0o600


def test_tokens_are_exchanged_where_the_administrator_says() -> None:
    config = replace(CONFIG, sts_endpoint="http://sts.example.org")
    assert (of(token_call(), config).environment or {})["AWS_ENDPOINT_URL_STS"] == (
        "http://sts.example.org"
    )


def test_the_endpoint_of_a_secret_is_a_plain_url_and_not_repeated_if_it_is_none() -> None:
    assert of(call({**SECRETS, "endpoint": "http://h:1/"})).endpoint == "http://h:1"
    with pytest.raises(InvalidArgumentError, match="endpoint") as caught:
        of(call({**SECRETS, "endpoint": f"http://user:{SECRET}@h"}))
    assert SECRET not in str(caught.value)
