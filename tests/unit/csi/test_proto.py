"""The generated code is what the `.proto` files say, and nothing that was changed by hand."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

import pytest
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)

from csi.proto import csi_pb2, csi_pb2_grpc, registration_pb2

PROJECT = Path(__file__).resolve().parents[3]
SOURCES = ("csi/proto/csi.proto", "csi/proto/registration.proto")
GENERATOR = csi_pb2_grpc.GRPC_GENERATED_VERSION


def compile_to(*options: str) -> None:
    """Run the protocol compiler that is installed."""
    words = ["-m", "grpc_tools.protoc", "-I.", *options, *SOURCES]
    subprocess.run([sys.executable, *words], cwd=PROJECT, check=True, timeout=60)


def strip(messages: Iterable[DescriptorProto]) -> None:
    """Leave out what the compiler writes to descriptor sets only."""
    for message in messages:
        for field in message.field:
            field.ClearField("json_name")
        strip(message.nested_type)


@pytest.mark.parametrize("file", [csi_pb2.DESCRIPTOR, registration_pb2.DESCRIPTOR])
def test_messages_and_calls_are_those_of_the_proto_files(
    tmp_path: Path, file: FileDescriptor
) -> None:
    compile_to(f"--descriptor_set_out={tmp_path / 'set'}")
    written = FileDescriptorSet.FromString((tmp_path / "set").read_bytes()).file
    for source in written:
        strip(source.message_type)
    assert FileDescriptorProto.FromString(file.serialized_pb) in written


@pytest.mark.skipif(
    version("grpcio-tools") != GENERATOR,
    reason=f"the code was made by grpcio-tools {GENERATOR}; others write other bytes",
)
def test_making_the_code_again_changes_nothing(tmp_path: Path) -> None:
    compile_to(f"--python_out={tmp_path}", f"--pyi_out={tmp_path}", f"--grpc_python_out={tmp_path}")
    kept = {path.name: path.read_bytes() for path in PROJECT.glob("csi/proto/*_pb2*")}
    made = {path.name: path.read_bytes() for path in tmp_path.glob("csi/proto/*_pb2*")}
    assert made == kept
