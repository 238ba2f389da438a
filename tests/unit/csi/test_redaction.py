from __future__ import annotations

import io
import logging

import pytest

from csi.proto import csi_pb2 as pb
from csi.redaction import RedactingFormatter, shown, without_secrets

CANARY = "canary-7f3a"


def test_a_request_is_shown_without_what_may_be_secret() -> None:
    request = pb.NodePublishVolumeRequest(
        volume_id="csi-1",
        target_path="/target",
        secrets={"secretAccessKey": CANARY, "anything": CANARY},
        volume_context={
            "dataset": "s3://bucket/data@v3",
            "csi.storage.k8s.io/serviceAccount.tokens": CANARY,
            "secretAccessKey": CANARY,
            "csi.storage.k8s.io/serviceAccount.name": "default",
        },
        volume_capability=pb.VolumeCapability(
            mount=pb.VolumeCapability.MountVolume(mount_flags=[f"password={CANARY}"]),
            access_mode=pb.VolumeCapability.AccessMode(
                mode=pb.VolumeCapability.AccessMode.SINGLE_NODE_WRITER
            ),
        ),
    )
    line = shown(request)
    assert CANARY not in line
    assert "volume_id='csi-1'" in line
    assert "dataset: 's3://bucket/data@v3'" in line
    assert "serviceAccount.name: 'default'" in line
    assert "mode=SINGLE_NODE_WRITER" in line


@pytest.mark.parametrize(
    "name",
    [
        "NodePublishVolumeRequest",
        "NodeStageVolumeRequest",
        "NodeExpandVolumeRequest",
        "NodeGetStorageHealthRequest",
        "CreateVolumeRequest",
        "DeleteVolumeRequest",
        "ValidateVolumeCapabilitiesRequest",
    ],
)
def test_secrets_are_hidden_in_every_message_that_has_them(name: str) -> None:
    message = getattr(pb, name)(secrets={"key": CANARY})
    assert shown(message) == "secrets=***"


def test_a_value_that_this_version_does_not_know_is_shown_as_its_number() -> None:
    mode = pb.VolumeCapability.AccessMode()
    mode.ParseFromString(b"\x08\x63")
    assert shown(mode) == "mode=99"


def test_lists_of_messages_are_shown_one_by_one() -> None:
    block = pb.VolumeCapability(block=pb.VolumeCapability.BlockVolume())
    request = pb.CreateVolumeRequest(name="pvc", volume_capabilities=[block, block])
    assert shown(request) == "name='pvc' volume_capabilities=[{block={}}, {block={}}]"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("key AKIAIOSFODNN7EXAMPLE was refused", "key *** was refused"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer ***"),
        ("token eyJhbGciOiJSUzI1NiJ9.eyJzdWIi.c2ln-_x is", "token *** is"),
        ("https://user:pass@host/path", "https://***@host/path"),
        ("AWS_SECRET_ACCESS_KEY=abc/def+g next", "AWS_SECRET_ACCESS_KEY=*** next"),
        ("s3://bucket@v3 and s3://bucket/a@v3", "s3://bucket@v3 and s3://bucket/a@v3"),
        ("no dataset at s3://bucket/prefix", "no dataset at s3://bucket/prefix"),
    ],
)
def test_what_looks_like_a_secret_is_hidden_and_nothing_else(text: str, left: str) -> None:
    assert without_secrets(text) == left


def test_tracebacks_are_redacted_too() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(RedactingFormatter("%(message)s"))
    logger = logging.Logger("test")
    logger.addHandler(handler)
    try:
        raise ValueError("AKIAIOSFODNN7EXAMPLE")
    except ValueError:
        logger.exception("it broke")
    assert "ValueError: ***" in stream.getvalue()
