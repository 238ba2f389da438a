"""PyTorch: a map-style dataset in worker processes, and the order that a sampler announces."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.inprocess.conftest import Desk
from tests.node import wait_until
from vfs.inprocess.filesystem import HeadraceFileSystem

torch = pytest.importorskip("torch")

from torch.utils.data import (  # noqa: E402 - optional
    DataLoader,
    DistributedSampler,
    RandomSampler,
    SequentialSampler,
)

from vfs.torch import AnnouncedSampler, FileDataset, Sample  # noqa: E402 - optional
from vfs.torch.pathtable import PathTable  # noqa: E402 - optional

COUNT = 60


@pytest.fixture(scope="module")
def images(desk: Desk) -> Path:
    """Files in a directory for each class, published."""
    place = desk.node.directory / "images"
    chance = random.Random(3)
    for number in range(COUNT):
        path = place / "train" / f"class{number % 3}" / f"{number:03}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(chance.randbytes(20_000 + number))
    (place / "readme").write_bytes(b"text")
    desk.publish(place)
    return place


@pytest.fixture(scope="module")
def shown(desk: Desk, images: Path) -> HeadraceFileSystem:
    """The images in process."""
    return desk.open(images)


def test_files_by_directory_and_by_pattern(shown: HeadraceFileSystem, images: Path) -> None:
    """A dataset has the files below a directory, or those that match, with classes as labels."""
    below = FileDataset(shown, "train")
    matching = FileDataset(shown, "train/class1/*.jpg", decode=len)
    assert len(below) == COUNT
    assert below.classes == ["class0", "class1", "class2"]
    sample = below[-1]
    assert isinstance(sample, Sample)
    assert sample.path == "train/class2/059.jpg"
    assert sample.label == 2
    assert sample.data == (images / sample.path).read_bytes()
    assert [matching[0].data, len(matching)] == [20_001, COUNT // 3]
    assert [each.path for each in below.__getitems__([3, 1])] == [below.paths[3], below.paths[1]]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_worker_processes(shown: HeadraceFileSystem, images: Path, method: str) -> None:
    """Workers, forked or spawned, give each file once an epoch, as it is."""
    dataset = FileDataset(shown, "train")
    loader = DataLoader(
        dataset,
        batch_size=7,
        shuffle=True,
        num_workers=2,
        multiprocessing_context=method,
        persistent_workers=True,
        timeout=60,
    )
    for _ in range(2):
        seen = {
            path: (data, label)
            for batch in loader
            for data, label, path in zip(batch.data, batch.label.tolist(), batch.path, strict=True)
        }
        assert len(seen) == COUNT
        for path, (data, label) in seen.items():
            assert data == (images / path).read_bytes()
            assert path.split("/")[1] == f"class{label}"


def test_the_same_line_over_a_mount(desk: Desk, images: Path) -> None:
    """`vfs.open` of a path in a mount gives what reads the same files the same way."""
    import vfs  # noqa: PLC0415

    mount = desk.node.mount(images, name="images.mount")
    try:
        fs = vfs.open(mount)
        dataset = FileDataset(fs, "train")
        assert not isinstance(fs, HeadraceFileSystem)
        assert len(dataset) == COUNT
        assert dataset[5].data == (images / dataset[5].path).read_bytes()
        order = list(AnnouncedSampler(SequentialSampler(dataset), dataset))
        assert order == list(range(COUNT))
        assert vfs.open(mount / "train").exists("class0/000.jpg")
        with pytest.raises(OSError, match="Read-only"):
            fs.touch("new")
    finally:
        desk.node.umount(mount)


def test_the_announced_order_is_the_yielded_one(
    shown: HeadraceFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each epoch's order is announced, and then yielded; a rank announces its own alone."""
    announced: list[list[str]] = []
    monkeypatch.setattr(shown, "announce", lambda paths: announced.append(list(paths)))
    dataset = FileDataset(shown, "train")
    rank = DistributedSampler(dataset, num_replicas=3, rank=1, shuffle=True, seed=4)
    for sampler in (
        AnnouncedSampler(RandomSampler(dataset), dataset),
        AnnouncedSampler(rank, dataset),
    ):
        for epoch in range(2):
            if sampler.sampler is rank:
                sampler.set_epoch(epoch)
            assert len(sampler) == len(order := list(sampler))
            assert announced[-1] == [dataset.paths[index] for index in order]
    assert len(announced) == 4
    assert announced[0] != announced[1]
    assert announced[2] != announced[3]


def test_what_is_announced_is_fetched(lonely_desk: Desk, images: Path) -> None:
    """Files of an announced order come into the cache though nobody has read them."""
    repository = lonely_desk.node.directory / "repository"
    lonely_desk.publish(images, "--repo", str(repository))
    fs = lonely_desk.open(images, repo=str(repository))
    dataset = FileDataset(fs, "train")
    content = fs.connect().content
    order = list(AnnouncedSampler(RandomSampler(dataset), dataset))
    assert len(order) == COUNT
    wants = [
        want
        for path in map(dataset.paths.__getitem__, order)
        for want in content.wants(fs._range(path, None, None))
    ]
    wait_until(lambda: all(content._client.readable(want.chunk) for want in wants))


def test_a_path_table_is_a_list_of_paths() -> None:
    """Whatever names there are, and from both ends."""
    paths = ["a/b", "", "\udcff\udcfe", "grün", "x" * 5000]
    table = PathTable(paths)
    assert [table[number] for number in range(-5, 5)] == paths + paths
    assert len(table) == 5
    for number in (5, -6):
        with pytest.raises(IndexError, match="5 paths"):
            table[number]
