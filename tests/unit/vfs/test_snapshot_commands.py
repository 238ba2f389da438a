"""The commands snapshot, log, refs, show and diff, as a person and as a script meet them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from vfs import cli
from vfs.cli.options import human_size
from vfs.snapshots.dataset import parse_dataset, split_source_ref


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:  # noqa: ANN401 - whatever the document is
        return json.loads(self.out)

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


Run = Callable[..., Outcome]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*words: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["headrace", *map(str, words)])
        code = cli.run()
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    fill(root, range(10), 10)
    return root


def fill(root: Path, numbers: range, file_count: int) -> None:
    """Make directories of empty files."""
    for number in numbers:
        directory = root / f"class{number:02d}"
        directory.mkdir(parents=True)
        for name in range(file_count):
            (directory / f"{name:03d}").touch()


def test_snapshot_prints_the_id_alone_on_stdout(run: Run, source: Path) -> None:
    outcome = run("snapshot", source)
    assert outcome.code == 0
    assert re.fullmatch(r"[0-9a-f]{40}\n", outcome.out)
    assert "main is now this snapshot of 100 files" in outcome.err


def test_snapshot_draws_a_bar_on_a_terminal_and_keeps_stdout_clean(source: Path) -> None:
    ours, theirs = os.openpty()
    command = [sys.executable, "-c", "from vfs.cli import main; main()", "snapshot", str(source)]
    environ = {**os.environ, "TERM": "xterm"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, env=environ) as process:
        os.close(theirs)
        drawn = b"".join(iter(lambda: read_terminal(ours), b""))
        out = process.communicate()[0]
    os.close(ours)
    assert re.fullmatch(rb"[0-9a-f]{40}\n", out)
    assert b"listing" in drawn
    assert b"\x1b[" in drawn
    assert b"main is now this snapshot" in drawn


def read_terminal(terminal: int) -> bytes:
    """Read what was drawn; nothing more when the other side is closed, which reads as EIO."""
    try:
        return os.read(terminal, 4096)
    except OSError:
        return b""


def test_snapshot_says_that_nothing_changed(run: Run, source: Path) -> None:
    first = run("snapshot", source)
    second = run("snapshot", source)
    assert second.out == first.out
    assert "nothing changed: main already has these 100 files" in second.err


def test_snapshot_reports_as_json(run: Run, source: Path) -> None:
    os.mkfifo(source / "fifo")
    report = run("snapshot", source, "--json", "--ref", "v1").json
    assert report["ref"] == "v1"
    assert report["moved"] is True
    assert (report["files"], report["directories"], report["bytes"]) == (100, 11, 0)
    assert report["skipped"] == {"special_file": 1}


def test_snapshot_says_what_it_packed_in_the_order_of_a_list(
    run: Run, source: Path, tmp_path: Path
) -> None:
    for number in range(4):
        (source / f"small{number}").write_bytes(b"%d" % number * 10)
    (source / "larger").write_bytes(bytes(2048))
    order = tmp_path / "order"
    order.write_text("small2\nlarger\nsmall0\n")
    words = ("snapshot", source, "--pack", "--pack-below", "1K", "--pack-order", order)
    outcome = run(*words, "--json")
    assert "4 files lie in packs, 4 of them in 1 new ones" in outcome.err
    counts = {name: outcome.json[name] for name in ("packed_files", "newly_packed_files")}
    assert counts == {"packed_files": 4, "newly_packed_files": 4}
    (pack,) = (source / ".headrace" / "packs").iterdir()
    assert pack.read_bytes() == b"2" * 10 + b"0" * 10 + b"1" * 10 + b"3" * 10
    assert "nothing changed" in run(*words).err


def test_diff_calls_nothing_changed_because_it_was_packed(run: Run, source: Path) -> None:
    (source / "small").write_bytes(b"small")
    (source / ".headrace").mkdir()  # else the first publication does, and the root's mtime changes
    run("snapshot", source, "--ref", "plain")
    run("snapshot", source, "--ref", "packed", "--pack")
    assert run("diff", source, "plain", "packed").out == ""


def test_snapshot_names_what_it_skipped(run: Run, source: Path) -> None:
    os.mkfifo(source / "fi\nfo")
    err = run("snapshot", source).err
    assert 'skipped 1 that are sockets, FIFOs or devices: "fi\\nfo"\n' in err


def test_source_at_ref_names_the_ref_to_move(run: Run, source: Path) -> None:
    run("snapshot", f"{source}@v7")
    assert [each["ref"] for each in run("refs", source, "--json").json] == ["v7"]
    assert run("snapshot", f"{source}@v7", "--ref", "v8").code == 2


def test_log_shows_the_latest_first(run: Run, source: Path) -> None:
    first = run("snapshot", source, "-m", "the first").out.strip()
    (source / "new").write_text("12345")
    second = run("snapshot", source, "-m", "the second\nwith two lines").out.strip()
    text = run("log", source).out
    assert text.index(second) < text.index("    the second\n    with two lines\n")
    assert text.index("with two lines") < text.index(first) < text.index("the first")
    documents = run("log", source, "--json").json
    assert [(each["snapshot"], each["parent"]) for each in documents] == [
        (second, first),
        (first, None),
    ]
    assert [each["snapshot"] for each in run("log", source, "-n", 1, "--json").json] == [second]


def test_refs_shows_who_moved_what(run: Run, source: Path) -> None:
    assert run("refs", source).out == ""
    snapshot_id = run("snapshot", source).out.strip()
    assert re.fullmatch(rf"main  {snapshot_id}  \d{{4}}-\S+Z  \S+@\S+\n", run("refs", source).out)


def test_show_counts_and_finds_large_directories(run: Run, source: Path) -> None:
    (source / "class07" / "big").write_bytes(bytes(2048))
    snapshot_id = run("snapshot", source).out.strip()
    text = run("show", source).out
    assert f"snapshot {snapshot_id}" in text
    assert "files        101" in text
    assert re.search(r"2\.0 KiB +11 files  class07\n", text)
    document = run("show", source, snapshot_id[:12], "--largest", 1, "--json").json
    assert document["largest_directories"] == [{"path": "class07", "files": 11, "bytes": 2048}]


def test_diff_shows_what_was_added_removed_and_changed(run: Run, source: Path) -> None:
    old = run("snapshot", source).out.strip()
    (source / "class01" / "000").write_text("changed")
    (source / "class02" / "000").unlink()
    (source / "new").mkdir()
    (source / "new" / os.fsdecode(b"\xff")).touch()
    run("snapshot", source)
    assert run("diff", source, old, "main").lines == [
        "M class01/000",
        "D class02/000",
        "A new/",
        "A new/\\xff",
    ]
    changes = run("diff", source, old, "main", "--json").json["changes"]
    assert os.fsencode(changes[3]["path"]) == b"new/\xff"
    assert changes[0] == {
        "change": "M",
        "path": "class01/000",
        "kind": "file",
        "old_size": 0,
        "new_size": 7,
    }


def test_diff_reads_few_pages_where_little_changed(run: Run, source: Path) -> None:
    fill(source, range(10, 100), 150)
    old = run("snapshot", source).out.strip()
    (source / "class77" / "050").write_text("changed")
    new = run("snapshot", source, "--json").json
    document = run("diff", source, old, "main", "--json").json
    assert [change["path"] for change in document["changes"]] == ["class77/050"]
    pages = -(-(new["files"] + new["directories"]) // 1024)
    assert document["pages_read"] <= 8 < pages
    verbose = run("diff", source, old, "main", "-v")
    assert f"{document['pages_read']} pages read" in verbose.err


def test_diff_does_not_call_a_file_changed_because_it_was_hashed(run: Run, source: Path) -> None:
    (source / "file").write_text("text")
    old = run("snapshot", source).out.strip()
    run("snapshot", source, "--hash")
    assert run("diff", source, old, "main").out == ""


def test_diff_shows_a_directory_whose_own_mode_changed(run: Run, source: Path) -> None:
    old = run("snapshot", source).out.strip()
    (source / "class00").chmod(0o700)
    run("snapshot", source)
    assert run("diff", source, old, "main").lines == ["M class00/"]


def test_another_repository_is_used_everywhere(run: Run, source: Path, tmp_path: Path) -> None:
    repository = ("--repo", tmp_path / "elsewhere")
    snapshot_id = run("snapshot", source, *repository).out.strip()
    assert not (source / ".headrace").exists()
    for words in (("log", source), ("refs", source), ("show", source)):
        assert snapshot_id in run(*words, *repository).out
    assert run("diff", source, "main", snapshot_id, *repository).code == 0


@pytest.mark.parametrize(
    "words",
    [
        ("snapshot", "{source}/nowhere"),
        ("log", "{source}@nothing"),
        ("show", "{source}", "0123abcd"),
        ("diff", "{source}", "main", "nothing"),
    ],
)
def test_what_fails_is_one_line_and_exit_code_1(
    run: Run, source: Path, words: tuple[str, ...]
) -> None:
    run("snapshot", source)
    outcome = run(*(word.format(source=source) for word in words))
    assert outcome.code == 1
    assert outcome.out == ""
    error_lines = [line for line in outcome.err.splitlines() if not line.endswith(" ...")]
    assert len(error_lines) == 1
    assert error_lines[0].startswith("headrace: ")


@pytest.mark.parametrize(
    "words",
    [
        ("snapshot",),
        ("snapshot", "{source}", "--storage-option", "novalue"),
        ("snapshot", "{source}", "--storage-option", "region=x"),
        ("snapshot", "{source}", "--ref", "a/b"),
        ("snapshot", "{source}", "--message", "x" * 5000),
        ("snapshot", "{source}", "--repo", "{source}"),
        ("snapshot", "{source}", "--pack", "--pack-below", "17M"),
        ("snapshot", "{source}", "--pack", "--pack-order", "{source}/missing"),
        ("diff", "{source}", "main"),
        ("log", "{source}", "-n", "0"),
    ],
)
def test_wrong_use_is_exit_code_2(run: Run, source: Path, words: tuple[str, ...]) -> None:
    outcome = run(*(word.format(source=source) for word in words))
    assert outcome.code == 2
    assert outcome.out == ""


@pytest.mark.parametrize(
    ("text", "place", "name"),
    [
        ("s3://b/d@v3", "s3://b/d", "v3"),
        ("s3://b/d", "s3://b/d", None),
        ("s3://b@v3", "s3://b", "v3"),
        ("s3://b/x@y/d", "s3://b/x@y/d", None),
        ("s3://b/x@y/d@main", "s3://b/x@y/d", "main"),
        ("./data@0123abcd", "./data", "0123abcd"),
        ("data@", "data@", None),
        ("@v3", "@v3", None),
        ("https://user@host", "https://user@host", None),
        ("https://user@host/d@v3", "https://user@host/d", "v3"),
    ],
)
def test_a_source_is_parted_from_its_snapshot(text: str, place: str, name: str | None) -> None:
    assert split_source_ref(text) == (place, name)


def test_an_existing_path_with_an_at_sign_wins(tmp_path: Path) -> None:
    (tmp_path / "run@3").mkdir()
    assert split_source_ref(f"{tmp_path}/run@3") == (f"{tmp_path}/run@3", None)
    assert split_source_ref(f"{tmp_path}/run@3@main") == (f"{tmp_path}/run@3", "main")


def test_storage_options_do_not_reach_a_repository_of_another_kind(tmp_path: Path) -> None:
    settings = {"endpoint_url": "http://127.0.0.1:1", "anon": "true", "region": "r"}
    dataset = parse_dataset("s3://b/d", str(tmp_path), settings)
    assert dataset.source.options["region"] == "r"
    assert dict(dataset.repository.options) == {}


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1,023 B"),
        (1536, "1.5 KiB"),
        (5 << 40, "5.0 TiB"),
        (5 << 50, "5,120.0 TiB"),
    ],
)
def test_sizes_are_shown_in_fitting_units(size: int, text: str) -> None:
    assert human_size(size) == text
