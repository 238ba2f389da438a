"""What a manifest costs: `python -m bench.micro.manifest --files N`.

A synthetic listing of N files, 200 to a directory as S3 would list it, with md5 etags; then the
same manifest is read back. The time to make the listing up is measured apart.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import anyio

from vfs.manifest.builder import ManifestBuilder, SnapshotInfo
from vfs.manifest.inode import Inode
from vfs.manifest.tree import Tree

FILES_IN_DIRECTORY = 200
MTIME_NS = 1_700_000_000_000_000_000
LOOKUPS = 100_000


class FileSource:
    """A manifest in a local file."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")

    async def read(self, start: int, stop: int) -> bytes:
        self._file.seek(start)
        return self._file.read(stop - start)

    async def reread(self, start: int, stop: int, bad: bytes) -> bytes:
        return await self.read(start, stop)

    def close(self) -> None:
        self._file.close()


def listing(count: int) -> Iterator[tuple[bytes, int, int, str]]:
    """Yield path, size, mtime and etag of *count* files."""
    for number in range(count):
        directory = number // FILES_IN_DIRECTORY
        path = b"train/%04d/%03d/image_%09d.jpg" % (directory // 1000, directory % 1000, number)
        etag = hashlib.md5(path, usedforsecurity=False).hexdigest()
        yield path, 100_000 + number % 7919, MTIME_NS + number * 1_000_000, etag


def build(count: int, out: Path) -> None:
    """Build and write a manifest; print what it took."""
    started, cpu = time.perf_counter(), time.process_time()
    for _ in listing(count):
        pass
    listing_wall, listing_cpu = time.perf_counter() - started, time.process_time() - cpu
    started, cpu = time.perf_counter(), time.process_time()
    builder = ManifestBuilder()
    for path, size, mtime_ns, etag in listing(count):
        builder.add_file(path, size, mtime_ns, 0o644, etag)
    added_wall, added_cpu = time.perf_counter() - started, time.process_time() - cpu
    started, cpu = time.perf_counter(), time.process_time()
    written = builder.write(out, SnapshotInfo("s3://s3.example.com/bench", MTIME_NS))
    written_wall, written_cpu = time.perf_counter() - started, time.process_time() - cpu
    show("listing", f"{listing_wall:.2f} s wall, {listing_cpu:.2f} s CPU")
    show("add", f"{added_wall - listing_wall:.2f} s wall, {added_cpu - listing_cpu:.2f} s CPU")
    show("write", f"{written_wall:.2f} s wall, {written_cpu:.2f} s CPU")
    show("peak RSS", f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")
    show("manifest", f"{written.size / 1e6:.1f} MB, {written.size / count:.1f} bytes a file")


async def read(count: int, path: Path) -> None:
    """Open a manifest, look names up and list directories; print the rates."""
    source = FileSource(path)
    started = time.perf_counter()
    tree = await Tree.open(source, None)
    show("open", f"{(time.perf_counter() - started) * 1e3:.2f} ms, {tree.pages_read} pages")
    parent = await tree.resolve(b"train/0000/000")
    assert parent is not None
    await lookups_in_memory(tree, parent)
    await lookups_at_random(tree, count)
    await decodes(tree, parent)
    source.close()


async def lookups_in_memory(tree: Tree, parent: Inode) -> None:
    names = [inode.name for inode in await tree.children_from(parent, 0)]
    await tree.lookup(parent, names[0])
    started = time.perf_counter()
    for number in range(LOOKUPS):
        tree.lookup_nowait(parent, names[number % len(names)])
    show("lookup_nowait", per_second(LOOKUPS, started))
    started = time.perf_counter()
    for number in range(LOOKUPS):
        await tree.lookup(parent, names[number % len(names)])
    show("lookup", per_second(LOOKUPS, started))


async def lookups_at_random(tree: Tree, count: int) -> None:
    """Resolve whole paths all over the dataset: what the page cache does not hold is unpacked."""
    chosen = random.Random(0).sample(range(count), 2000)
    wanted = set(chosen)
    paths = {n: path for n, (path, *_) in enumerate(listing(count)) if n in wanted}
    started, before = time.perf_counter(), tree.pages_read
    for number in chosen:
        assert await tree.resolve(paths[number])
    pages = tree.pages_read - before
    show("resolve", f"{per_second(len(chosen), started)}, {pages} pages for {len(chosen)} paths")


async def decodes(tree: Tree, parent: Inode) -> None:
    batch = await tree.children_from(parent, 0)
    first = batch[0].position
    started = time.perf_counter()
    for number in range(LOOKUPS):
        tree.inode_nowait(first + number % len(batch))
    show("inode_nowait", per_second(LOOKUPS, started))
    started = time.perf_counter()
    rounds = LOOKUPS // len(batch)
    for _ in range(rounds):
        await tree.children_from(parent, 0)
    show("children_from", per_second(rounds * len(batch), started) + " inodes")
    started = time.perf_counter()
    for _ in range(rounds):
        tree.siblings_nowait(parent, 0, len)
    show("siblings_nowait", per_second(rounds * len(batch), started) + " inodes")


def per_second(count: int, started: float) -> str:
    seconds = time.perf_counter() - started
    return f"{count / seconds:,.0f}/s ({seconds / count * 1e6:.2f} us)"


def show(what: str, figure: str) -> None:
    print(f"{what:16} {figure}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=100_000)
    count = parser.parse_args().files
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "manifest"
        build(count, path)
        anyio.run(read, count, path)


if __name__ == "__main__":
    main()
