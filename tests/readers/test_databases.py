"""Files with an inner structure, of which a reader wants parts: SQLite and Parquet."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.node import Node
from tests.readers.conftest import Dataset

ROWS = 20_000


@pytest.fixture(scope="module")
def tables(reader_node: Node, mounted: Callable[[Path], Dataset]) -> Dataset:
    """A SQLite database, and a Parquet file where pyarrow is there to write it."""
    root = reader_node.directory / "tables"
    root.mkdir()
    with closing(sqlite3.connect(root / "rows.db")) as database, database:
        database.execute("create table rows (number integer primary key, word text)")
        database.executemany("insert into rows values (?, ?)", rows())
        database.execute("create index by_word on rows (word)")
    write_parquet(root / "rows.parquet")
    return mounted(root)


def rows() -> Iterator[tuple[int, str]]:
    """Yield what the tables hold."""
    return ((number, f"word {number * 7919 % ROWS}") for number in range(ROWS))


def write_parquet(path: Path) -> None:
    """Write the rows in several row groups."""
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    numbers, words = zip(*rows(), strict=True)
    table = pyarrow.table({"number": list(numbers), "word": list(words)})
    parquet.write_table(table, path, row_group_size=ROWS // 8)


@pytest.mark.parametrize("how", ["mode=ro", "immutable=1"])
def test_sqlite_reads(tables: Dataset, how: str) -> None:
    """A database opens read-only, is sound, and answers with and without its index."""
    with closing(sqlite3.connect(f"file:{tables.mount}/rows.db?{how}", uri=True)) as database:
        assert database.execute("pragma integrity_check").fetchall() == [("ok",)]
        assert database.execute("select * from rows").fetchall() == list(rows())
        (number,) = database.execute("select number from rows where word = 'word 7919'").fetchone()
        assert number == 1


def test_sqlite_cannot_write(tables: Dataset) -> None:
    """Who tries to write is told that the database is read-only."""
    with (
        closing(sqlite3.connect(tables.mount / "rows.db")) as database,
        pytest.raises(sqlite3.OperationalError, match="readonly"),
    ):
        database.execute("delete from rows")


@pytest.mark.parametrize("memory_map", [False, True])
def test_pyarrow_reads(tables: Dataset, memory_map: bool) -> None:
    """A Parquet file reads whole, and by single columns and row groups."""
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tables.mount / "rows.parquet"
    whole = parquet.read_table(path, memory_map=memory_map)
    assert list(zip(*whole.to_pydict().values(), strict=True)) == list(rows())
    with parquet.ParquetFile(path, memory_map=memory_map) as file:
        assert file.num_row_groups == 8
        part = file.read_row_group(5, columns=["number"])
    start = 5 * (ROWS // 8)
    assert part.to_pydict() == {"number": list(range(start, start + ROWS // 8))}


def test_pyarrow_scans_a_directory(tables: Dataset) -> None:
    """A dataset of files is filtered without reading all of them."""
    dataset = pytest.importorskip("pyarrow.dataset")
    found = dataset.dataset(tables.mount / "rows.parquet")
    few = found.to_table(filter=dataset.field("number") < 3)
    assert few.to_pydict()["number"] == [0, 1, 2]
