"""Commands that walk and read whole trees."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.readers.conftest import Dataset, files_below

SHA256_OF_ALL = "find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum"


def output_of(*words: str | Path, cwd: Path) -> str:
    """Run a command in *cwd* and return what it prints; it must succeed and not complain."""
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    return done.stdout


def test_find_and_sha256sum(dataset: Dataset) -> None:
    """The checksums of all files are the source's."""
    shown, expected = (
        output_of("sh", "-c", SHA256_OF_ALL, cwd=place) for place in (dataset.mount, dataset.source)
    )
    assert len(shown.splitlines()) == len(files_below(dataset.source))
    assert shown == expected


def test_tar(dataset: Dataset, tmp_path: Path) -> None:
    """An archive made of the mount unpacks to the source's files."""
    output_of("sh", "-c", f"tar -cf - . | tar -xf - -C '{tmp_path}'", cwd=dataset.mount)
    assert files_below(tmp_path) == files_below(dataset.source)
    output_of("diff", "--recursive", "--brief", tmp_path, dataset.source, cwd=tmp_path)


def test_tar_finds_no_difference(local: Dataset, tmp_path: Path) -> None:
    """Sizes, modes, owners and times in an archive of the mount are those of the source."""
    output_of("tar", "-cf", tmp_path / "archive.tar", ".", cwd=local.mount)
    output_of("tar", "--compare", "-f", tmp_path / "archive.tar", cwd=local.source)


def test_rsync(dataset: Dataset) -> None:
    """rsync, told to compare checksums, finds nothing to do between mount and source."""
    words = ["--checksum", "--recursive", "--links", "--dry-run", "--delete", "--itemize-changes"]
    found = output_of("rsync", *words, f"{dataset.mount}/", f"{dataset.source}/", cwd=Path("/"))
    assert found == ""


def test_diff(dataset: Dataset) -> None:
    """`diff --recursive` finds no difference."""
    output_of("diff", "--recursive", dataset.mount, dataset.source, cwd=Path("/"))


def test_du_and_wc(dataset: Dataset) -> None:
    """du and wc count the bytes of the source."""
    for command in ("du --bytes --summarize large.bin", "cat part3/*/* | wc -c", "ls -R | wc -l"):
        shown = output_of("sh", "-c", command, cwd=dataset.mount)
        assert shown == output_of("sh", "-c", command, cwd=dataset.source)
