"""A process asks as one mount's user and as nobody else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vfs.mounting.identity import Identity, own_environment, tenant_environment


@pytest.fixture(autouse=True)
def _nodes_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in own_environment():
        monkeypatch.delenv(name)
    # Set once before it changes, so that it is put back whatever a test makes of it.
    for name in ("AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "node")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "node's secret")


def test_a_tenant_finds_nothing_of_the_nodes_own() -> None:
    Identity().assume(tenant_environment({"AWS_ACCESS_KEY_ID": "tenant"}))
    assert os.environ["AWS_ACCESS_KEY_ID"] == "tenant"
    assert "AWS_SECRET_ACCESS_KEY" not in os.environ
    assert os.environ["AWS_EC2_METADATA_DISABLED"] == "true"
    assert os.environ["AWS_CONFIG_FILE"] == os.environ["AWS_SHARED_CREDENTIALS_FILE"] == "/dev/null"


def test_the_nodes_own_is_what_it_was_given() -> None:
    own = own_environment()
    Identity().assume(tenant_environment({}))
    Identity().assume(own)
    assert own_environment() == own
    assert own["AWS_SECRET_ACCESS_KEY"] == "node's secret"


def test_a_token_is_a_file_in_memory_whose_name_stays_when_it_is_replaced() -> None:
    identity = Identity()
    paths = []
    for token in ("a long first token", "second"):
        identity.assume({"HEADRACE_WEB_IDENTITY_TOKEN": token, "AWS_ROLE_ARN": "arn"})
        paths.append(os.environ["AWS_WEB_IDENTITY_TOKEN_FILE"])
        assert Path(paths[-1]).read_text() == token
        assert token not in os.environ.values()
    assert paths[0] == paths[1]
    assert not os.get_inheritable(int(paths[0].rpartition("/")[2]))
    os.close(int(paths[0].rpartition("/")[2]))
