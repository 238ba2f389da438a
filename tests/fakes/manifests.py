"""Manifests in memory: build one from a plain dict, read one back into a plain dict, forge one."""

from __future__ import annotations

import tempfile
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import anyio

from vfs.manifest.builder import ManifestBuilder, SnapshotInfo, Written
from vfs.manifest.inode import ROOT_POSITION, Inode, Kind
from vfs.manifest.packing import Packing
from vfs.manifest.page import (
    Group,
    PageEntry,
    decode_index_page,
    decode_top_index,
    digest_of,
    encode_index_page,
    encode_top_index,
    pack_page,
    unpack_page,
)
from vfs.manifest.superblock import (
    PREFIX_SIZE,
    Superblock,
    decode_superblock,
    encode_superblock,
    size_in_prefix,
)
from vfs.manifest.tree import Tree

R = TypeVar("R")


@dataclass(frozen=True)
class File:
    """A file as a test describes it."""

    size: int = 0
    mtime_ns: int = 7
    mode: int = 0o644
    version: str | None = "v1"
    hashes: bytes | None = None


@dataclass(frozen=True)
class Directory:
    """A directory that is said, not implied."""

    mtime_ns: int = 7
    mode: int = 0o755


@dataclass(frozen=True)
class Symlink:
    """A symlink."""

    target: bytes
    mtime_ns: int = 7
    mode: int = 0o777


Node = File | Directory | Symlink

INFO = SnapshotInfo(source="file:///data", created_ns=1)


class MemorySource:
    """A manifest that is a bytes object."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    async def read(self, start: int, stop: int) -> bytes:
        """Return a slice."""
        return self.data[start:stop]

    async def reread(self, start: int, stop: int, bad: bytes) -> bytes:
        """Return the slice again."""
        return await self.read(start, stop)


def add_all(builder: ManifestBuilder, nodes: Mapping[bytes, Node]) -> None:
    """Add what a dict describes."""
    for path, node in nodes.items():
        match node:
            case File(size, mtime_ns, mode, version, hashes):
                builder.add_file(path, size, mtime_ns, mode, version, hashes)
            case Directory(mtime_ns, mode):
                builder.add_directory(path, mtime_ns, mode)
            case Symlink(target, mtime_ns, mode):
                builder.add_symlink(path, target, mtime_ns, mode)


def written(
    builder: ManifestBuilder, info: SnapshotInfo = INFO, packing: Packing | None = None
) -> tuple[Written, bytes]:
    """Write a manifest; return what it became and its bytes."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "manifest"
        result = builder.write(path, info, packing)
        return result, path.read_bytes()


def manifest_of(nodes: Mapping[bytes, Node], info: SnapshotInfo = INFO) -> bytes:
    """Return the bytes of the manifest of a dict."""
    builder = ManifestBuilder()
    add_all(builder, nodes)
    return written(builder, info)[1]


def asked(data: bytes, question: Callable[[Tree], Awaitable[R]], cache_size: int = 1 << 24) -> R:
    """Open a manifest, ask it something, and return the answer."""

    async def ask() -> R:
        return await question(await Tree.open(MemorySource(data), None, cache_size))

    return anyio.run(ask, backend="trio")


async def walk(tree: Tree) -> dict[bytes, Inode]:
    """Return every inode by its path, found by listing from the root on."""
    root = await tree.inode(ROOT_POSITION)
    found = {b"": root}
    pending = [(b"", root)]
    while pending:
        path, directory = pending.pop()
        async for batch in tree.children(directory):
            for child in batch:
                below = path + b"/" + child.name if path else child.name
                found[below] = child
                if child.kind is Kind.DIRECTORY:
                    pending.append((below, child))
    return found


async def read_back(tree: Tree) -> dict[bytes, Node]:
    """Return what the whole manifest describes, but for its root."""
    nodes = {path: await node_of(tree, inode) for path, inode in (await walk(tree)).items()}
    del nodes[b""]
    return nodes


async def node_of(tree: Tree, inode: Inode) -> Node:
    """Return an inode as a test describes it."""
    match inode.kind:
        case Kind.DIRECTORY:
            return Directory(inode.mtime_ns, inode.mode)
        case Kind.SYMLINK:
            return Symlink(inode.target, inode.mtime_ns, inode.mode)
        case Kind.FILE:
            hashes = await tree.contents.chunk_hashes(inode, 0, 1 << 40)
            packed = None if hashes is None else b"".join(n.to_bytes(8, "little") for n in hashes)
            return File(inode.size, inode.mtime_ns, inode.mode, inode.version, packed)


def forged(
    data: bytes,
    alter_page: Callable[[bytearray], None] = lambda _: None,
    alter_superblock: Callable[[Superblock], Superblock] = lambda block: block,
) -> bytes:
    """Return a manifest with its only inode page altered, and every digest made right again."""
    head_size = size_in_prefix(data[:PREFIX_SIZE])
    block = decode_superblock(data[:head_size], None)
    top = data[block.inodes.index_offset :][:28]
    (group,) = decode_top_index(top, block.inodes.index_digest, len(data))
    index_data = data[group.offset : group.offset + group.index_length]
    index = decode_index_page(index_data, group, 1, len(data))
    page = bytearray(
        unpack_page(data[index.offsets[0] : index.offsets[1]], index.entries[0].digest, 0)
    )
    alter_page(page)
    packed = pack_page(page)
    return _assembled(alter_superblock(block), packed, index.entries[0].first_name)


def _assembled(block: Superblock, packed: bytes, first_name: bytes) -> bytes:
    head_size = len(encode_superblock(block))
    index = encode_index_page([PageEntry(len(packed), digest_of(packed), first_name)])
    top = encode_top_index([Group(head_size + 28, len(index), digest_of(index))])
    block = replace(
        block,
        manifest_size=head_size + len(top) + len(index) + len(packed),
        inodes=replace(block.inodes, index_offset=head_size, index_digest=digest_of(top)),
    )
    return encode_superblock(block) + top + index + packed
