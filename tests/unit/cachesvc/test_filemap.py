from __future__ import annotations

import mmap
from pathlib import Path

import pytest

from cachesvc.store.filemap import FileMap

SIZE = 64 * 4096


def test_a_view_of_a_map_is_found_in_its_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(SIZE))
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), SIZE - 8192, access=mmap.ACCESS_READ, offset=8192) as shown,
    ):
        view = memoryview(shown)
        file_map = FileMap()
        try:
            assert file_map.offset_of(view[5000:5001]) == 8192 + 5000
            assert file_map.offset_of(view) == 8192
        finally:
            view.release()


def test_memory_that_is_no_files_is_refused() -> None:
    with pytest.raises(LookupError, match="no file is mapped at 0x"):
        FileMap().offset_of(memoryview(bytearray(1 << 20)))
