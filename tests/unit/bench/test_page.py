from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.bench.canned import RESULTS

pytest.importorskip("matplotlib", reason="the extra 'bench' is not installed")

from bench.page import styled, write_page


def test_marks_of_the_terminal_become_spans_and_the_rest_is_escaped() -> None:
    assert styled("[red]0.5[/] <b>") == "<span class=red>0.5</span> &lt;b&gt;"


def test_a_page_shows_each_plot_above_its_table_and_who_was_left_out(tmp_path: Path) -> None:
    page = write_page(RESULTS, tmp_path / "page").read_text()
    plots = {path.name for path in (tmp_path / "page").glob("*.png")}
    assert plots == {"files--files-s.png", "files--server-CPU-us-file.png"}
    assert all(f'src="{name}"' in page for name in plots)
    assert page.index("files--files-s.png") < page.index("<caption>files: files/s")
    assert "no s3fs here" in page
