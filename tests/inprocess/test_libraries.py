"""The libraries that people read datasets with, each reading one in process."""

from __future__ import annotations

import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from tests.inprocess.conftest import Desk
from vfs.inprocess.filesystem import HeadraceFileSystem

ROWS = 5000
SHARDS = 2


@pytest.fixture(scope="module")
def tables(desk: Desk) -> Path:
    """Tables in CSV and Parquet and shards of samples, published."""
    pandas = pytest.importorskip("pandas")
    place = desk.node.directory / "tables"
    (place / "parts").mkdir(parents=True)
    frame = pandas.DataFrame({"number": range(ROWS), "word": [f"w{n % 7}" for n in range(ROWS)]})
    frame.to_csv(place / "all.csv", index=False)
    for part in range(2):
        frame[part::2].to_parquet(place / "parts" / f"{part}.parquet", index=False)
    for shard in range(SHARDS):
        with tarfile.open(place / f"shard{shard}.tar", "w") as tar:
            for number in range(10):
                _add(tar, f"{shard}{number:03}.txt", f"text {number}".encode())
                _add(tar, f"{shard}{number:03}.cls", str(number % 3).encode())
    desk.publish(place)
    return place


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    tar.addfile(entry, BytesIO(data))


@pytest.fixture(scope="module")
def shown(desk: Desk, tables: Path) -> HeadraceFileSystem:
    """The tables in process."""
    return desk.open(tables)


@pytest.fixture
def options(desk: Desk, tables: Path) -> dict[str, str]:
    """What a person gives as storage options."""
    return {"dataset": str(tables), "cache_dir": str(desk.node.cache)}


def test_pandas(options: dict[str, str], tables: Path) -> None:
    """read_csv and read_parquet take the protocol with storage options, and a chained URL."""
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_csv("headrace://all.csv", storage_options=options)
    assert frame["number"].sum() == sum(range(ROWS))
    half = pandas.read_parquet("headrace://parts/1.parquet", storage_options=options)
    assert list(half["number"][:3]) == [1, 3, 5]
    chained = f"headrace://all.csv::file://{tables}@main"
    frame = pandas.read_csv(
        chained, storage_options={"headrace": {"cache_dir": options["cache_dir"]}}
    )
    assert len(frame) == ROWS


def test_pyarrow(shown: HeadraceFileSystem) -> None:
    """A dataset of Parquet files is found, filtered and counted."""
    dataset = pytest.importorskip("pyarrow.dataset")
    found = dataset.dataset("parts", filesystem=shown, format="parquet")
    assert found.count_rows() == ROWS
    table = found.to_table(columns=["number"], filter=dataset.field("word") == "w3")
    assert sorted(table["number"].to_pylist()) == list(range(3, ROWS, 7))


def test_duckdb(shown: HeadraceFileSystem) -> None:
    """SQL over a registered filesystem, with a glob."""
    duckdb = pytest.importorskip("duckdb")
    with duckdb.connect() as connection:
        connection.register_filesystem(shown)
        rows = connection.execute(
            "SELECT count(*), sum(number) FROM read_parquet('headrace://parts/*.parquet')"
        ).fetchall()
        assert rows == [(ROWS, sum(range(ROWS)))]
        counted = connection.execute("SELECT count(*) FROM read_csv('headrace://all.csv')")
        assert counted.fetchall() == [(ROWS,)]


def test_webdataset(shown: HeadraceFileSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards are opened by URL; the protocol is fsspec's."""
    webdataset = pytest.importorskip("webdataset")
    monkeypatch.setitem(
        webdataset.gopen_schemes, "headrace", lambda url, mode, _: shown.open(url, mode)
    )
    samples = list(webdataset.WebDataset("headrace://shard{0..1}.tar", shardshuffle=False).decode())
    assert len(samples) == 10 * SHARDS
    assert {sample["cls"] for sample in samples} == {0, 1, 2}
    assert samples[0]["txt"] == "text 0"


def test_datasets(options: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """load_dataset takes data_files by URL, at once and streamed."""
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    monkeypatch.setenv("HF_UPDATE_DOWNLOAD_COUNTS", "0")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    datasets = pytest.importorskip("datasets")
    given = {
        "data_files": "headrace://parts/*.parquet",
        "storage_options": options,
        "split": "train",
        "cache_dir": str(tmp_path),
    }
    assert len(datasets.load_dataset("parquet", **given)) == ROWS
    streamed = datasets.load_dataset("parquet", streaming=True, **given)
    assert sum(row["number"] for row in streamed) == sum(range(ROWS))
