"""Python programs: memory maps, arrays, archives, and a PyTorch DataLoader over real images."""

from __future__ import annotations

import hashlib
import mmap
import random
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.node import Node
from tests.readers.conftest import Dataset, files_below

IMAGES = 300


def test_mmap(dataset: Dataset) -> None:
    """A mapped file is the source's, searched, sliced and hashed."""
    expected = (dataset.source / "large.bin").read_bytes()
    with (
        (dataset.mount / "large.bin").open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as shown,
    ):
        assert shown.find(expected[7_654_321:7_654_361]) == 7_654_321
        assert shown[-77:] == expected[-77:]
        assert hashlib.sha256(shown).digest() == hashlib.sha256(expected).digest()


def test_numpy_memmap(local: Dataset) -> None:
    """A mapped array gives any of its elements."""
    numpy = pytest.importorskip("numpy")
    shown, expected = (
        numpy.memmap(place / "large.bin", dtype="u1", mode="r")
        for place in (local.mount, local.source)
    )
    chosen = numpy.random.default_rng(7).integers(0, len(expected), 5000)
    assert (shown[chosen] == expected[chosen]).all()


def test_copytree_and_zipfile(local: Dataset, tmp_path: Path) -> None:
    """shutil and zipfile read the whole tree."""
    shutil.copytree(local.mount, tmp_path / "copy")
    assert files_below(tmp_path / "copy") == files_below(local.source)
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for name in files_below(local.mount)[:50]:
            archive.write(local.mount / name, name)
        assert archive.testzip() is None


class Images:
    """A map-style dataset of image files and of what they show."""

    def __init__(self, root: Path) -> None:
        self._paths = [root / name for name in files_below(root)]

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> tuple[str, str]:
        from PIL import Image  # noqa: PLC0415 - an optional package

        path = self._paths[index]
        with Image.open(path) as image:
            pixels = image.convert("RGB").resize((16, 16)).tobytes()
        return path.name, hashlib.sha256(pixels).hexdigest()


@pytest.fixture(scope="module")
def image_files(reader_node: Node) -> Path:
    """Some hundred real PNG and JPEG files of different sizes, a directory for each class."""
    image = pytest.importorskip("PIL.Image")
    root = reader_node.directory / "images"
    chance = random.Random(8)
    for number in range(IMAGES):
        directory = root / f"class{number % 10}"
        directory.mkdir(parents=True, exist_ok=True)
        width, height = chance.randrange(20, 160), chance.randrange(20, 160)
        made = image.frombytes("RGB", (width, height), chance.randbytes(3 * width * height))
        made.save(directory / f"{number:04}.{'png' if number % 2 else 'jpg'}")
    return root


@pytest.fixture(params=["mounted", "mounted_from_s3"])
def images(request: pytest.FixtureRequest, image_files: Path) -> Dataset:
    """The images, mounted from the disk and then from S3."""
    mount: Callable[[Path], Dataset] = request.getfixturevalue(request.param)
    return mount(image_files)


def test_a_torch_data_loader(images: Dataset) -> None:
    """Two epochs of a shuffling DataLoader with two workers decode every image as the source's."""
    data: Any = pytest.importorskip("torch.utils.data")
    source = Images(images.source)
    expected = dict(source[index] for index in range(len(source)))
    assert len(expected) == IMAGES
    loader = data.DataLoader(Images(images.mount), batch_size=16, shuffle=True, num_workers=2)
    for _ in range(2):
        seen = {
            name: digest
            for names, digests in loader
            for name, digest in zip(names, digests, strict=True)
        }
        assert seen == expected
