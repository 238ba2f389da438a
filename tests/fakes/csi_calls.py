"""Calling a gRPC server at a unix socket as the kubelet does: a new connection for each call."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from grpc import aio

from csi.proto import csi_pb2 as pb
from csi.proto import csi_pb2_grpc as rpc

CALL_SECONDS = 10.0


@asynccontextmanager
async def calling(socket: Path) -> AsyncIterator[aio.Channel]:
    """Give a connection of its own."""
    options = [
        ("grpc.default_authority", "localhost"),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.enable_retries", 0),
    ]
    async with aio.insecure_channel(f"unix:{socket}", options=options) as channel:
        yield channel


async def plugin_version(socket: Path) -> str:
    """Return the version of whoever answers at *socket*. Raises aio.AioRpcError."""
    async with calling(socket) as channel:
        request = pb.GetPluginInfoRequest()
        answer = await rpc.IdentityStub(channel).GetPluginInfo(request, timeout=CALL_SECONDS)
        return str(answer.vendor_version)
