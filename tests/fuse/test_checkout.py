"""`headrace checkout`: a live mount goes on to another version, and what did not change stays."""

from __future__ import annotations

import mmap
import os
import subprocess
from pathlib import Path

import pytest

from tests.fuse.versioned import Versioned, bound, version, versioned
from tests.node import Node


@pytest.fixture
def dataset(node: Node, source: Path) -> Versioned:
    """A mount that shows the first of two versions."""
    return versioned(node, source)


def inos(mount: Path, *paths: str) -> list[int]:
    """Return the inode numbers of *paths*."""
    return [os.stat(mount / path).st_ino for path in paths]


def test_a_mount_goes_to_another_version_and_back(dataset: Versioned) -> None:
    """After `headrace checkout` every path shows the other version, all of it and nothing else;
    going back to an earlier one is the same.
    """
    assert dataset.content() == version(1)
    for number in (2, 1, 2):
        dataset.show(f"v{number}")
        assert dataset.content() == version(number)


def test_the_command_says_what_changed(dataset: Versioned) -> None:
    """It counts the files that changed, came and went, says so when there is nothing to do, and
    `headrace list` and the attribute `user.headrace.snapshot` name what is shown.
    """
    assert "2 files changed, 3 added, 3 removed" in dataset.show("v2")
    assert "already" in dataset.show("v2")
    (row,) = dataset.node.mounts()
    assert (row["ref"], row["epoch"]) == ("v2", 1)
    for path in (".", "same", "same/other", "diff/file"):
        assert (
            os.getxattr(dataset.mount / path, "user.headrace.snapshot").decode() == row["snapshot"]
        )


def test_what_cannot_be_shown_changes_nothing(dataset: Versioned, tmp_path: Path) -> None:
    """An unknown name, or a directory where nothing is mounted, is one line and exit code 1."""
    for name, place in (("nothing", dataset.mount), ("v2", tmp_path)):
        done = dataset.node.run("checkout", name, place, code=1)
        assert done.stderr.startswith("headrace: ")
        assert len(done.stderr.splitlines()) == 1
    assert dataset.content() == version(1)


def test_what_did_not_change_keeps_its_number(dataset: Versioned) -> None:
    """An unchanged file, and a directory whatever changed in it, keeps its inode number for as long
    as it is there; a file that changed has a new one.
    """
    kept = ("same", "same/inner/file", "same/other", "diff", "diff/same", ".")
    before, changed = inos(dataset.mount, *kept), inos(dataset.mount, "diff/file")
    for name in ("v2", "v1", "v2"):
        dataset.show(name)
        assert inos(dataset.mount, *kept) == before
        assert not set(inos(dataset.mount, "diff/file")) & set(changed)
        changed += inos(dataset.mount, "diff/file")


def test_an_unchanged_file_stays_in_the_page_cache(dataset: Versioned) -> None:
    """Unchanged files are read after a switch with no request to anybody, also beside others."""
    paths = [dataset.mount / path for path in ("same/inner/file", "diff/same")]
    contents = [path.read_text() for path in paths]
    dataset.show("v2")
    for path in paths:
        os.stat(path.parent)
    with dataset.node.stopped("worker"):
        for path, content in zip(paths, contents, strict=True):
            done = subprocess.run(
                ["cat", path], capture_output=True, text=True, timeout=10, check=True
            )
            assert done.stdout == content


def test_an_open_file_keeps_its_version(dataset: Versioned) -> None:
    """Who has a file open, or mapped, goes on with the version that was opened, also with what was
    not read of it before; who opens it after the switch gets the new one.
    """
    for path in ("diff/file", "diff/gone"):
        with (dataset.mount / path).open("rb", buffering=0) as file:
            view = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            dataset.show("v2")
            assert file.read().decode() == version(1)[path]
            assert view[:].decode() == version(1)[path]
            assert os.fstat(file.fileno()).st_size == len(version(1)[path])
            view.close()
        dataset.show("v1")
    dataset.show("v2")
    with (
        (dataset.mount / "diff/file").open("rb") as again,
        mmap.mmap(again.fileno(), 0, access=mmap.ACCESS_READ) as view,
    ):
        assert view[:].decode() == version(2)["diff/file"]


def test_names_that_come_and_go(dataset: Versioned) -> None:
    """A name that was looked for in vain is found as soon as it is there, and the reverse."""
    for name in ("v2", "v1", "v2"):
        shown = version(int(name[1]))
        dataset.show(name)
        for path in ("diff/new", "diff/gone", "coming/file", "leaving/file", "kind/file"):
            assert os.path.exists(dataset.mount / path) == (path in shown)
        assert (dataset.mount / "kind").is_dir() == (name == "v2")


def test_listings_are_those_of_the_new_version(dataset: Versioned) -> None:
    """A directory that was listed before is listed anew, the root at once, and so is its mtime."""
    for name in ("v2", "v1", "v2"):
        dataset.show(name)
        paths = [Path(path) for path in version(int(name[1]))]
        assert set(os.listdir(dataset.mount)) == {path.parts[0] for path in paths}
        assert set(os.listdir(dataset.mount / "diff")) == {
            path.name for path in paths if path.parts[0] == "diff"
        }
    assert os.stat(dataset.mount).st_mtime_ns == os.stat(dataset.source).st_mtime_ns


def test_a_working_directory_stays(dataset: Versioned) -> None:
    """Who works in a directory that both versions have stays in it, and sees what is in it now; one
    that is gone goes on showing the last version that had it.
    """
    for path, expected in (("same/inner", "file"), ("diff", "file new same"), ("leaving", "file")):
        dataset.show("v1")
        with subprocess.Popen(
            ["bash", "-c", "read; echo $(ls); cat file; /bin/pwd 2>/dev/null"],
            cwd=dataset.mount / path,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as shell:
            dataset.show("v2")
            said, _ = shell.communicate("\n", timeout=20)
        names, rest = said.split("\n", 1)
        file = f"{path}/file"
        assert names == expected
        assert rest.startswith((version(2) | {"leaving/file": version(1)["leaving/file"]})[file])
        assert rest.endswith(f"{dataset.mount / path}\n") == (path != "leaving")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may bind")
def test_mounts_inside_stay(dataset: Versioned, tmp_path: Path) -> None:
    """What is mounted inside a directory that both versions have stays mounted, and a bind mount of
    one shows the new version.
    """
    inner, outer = tmp_path / "inner", tmp_path / "outer"
    for directory in (inner, outer):
        directory.mkdir()
    (inner / "mine").touch()
    with (
        bound(inner, dataset.mount / "same/inner"),
        bound(inner, dataset.mount / "diff"),
        bound(dataset.mount / "same", outer),
    ):
        dataset.show("v2")
        assert os.listdir(dataset.mount / "same/inner") == ["mine"]
        assert os.listdir(dataset.mount / "diff") == ["mine"]
        assert (outer / "other").read_text() == version(2)["same/other"]
    assert dataset.content() == version(2)
