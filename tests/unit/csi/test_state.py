from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from csi.attributes import Attributes
from csi.errors import UnavailableError
from csi.pod import PodInfo
from csi.state import PublishRecord, PublishState, RecordFiles
from csi.volume import AccessMode, Arguments, Publication

PUBLICATION = Publication(
    "volume-1",
    Path("/pods/1/mount"),
    AccessMode.SINGLE_NODE_WRITER,
    Arguments(Attributes("s3://b/d", mode=0o440, deadline_seconds=5.0), ("ro",), 7, readonly=False),
)
RECORD = PublishRecord(
    PUBLICATION,
    PublishState.INTENT,
    key="k" * 32,
    snapshot_id="a" * 40,
    file_count=3,
    total_bytes=9,
    credentials="digest",
    pod=PodInfo("p", "n", "u", "s"),
)


def only_file(directory: Path) -> Path:
    (path,) = directory.iterdir()
    return path


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    files = RecordFiles(tmp_path / "volumes")
    files.write(RECORD)
    assert files.read_all() == [RECORD]
    files.write(RECORD.done())
    assert files.read_all() == [RECORD.done()]
    assert RECORD.done().state is PublishState.DONE


def test_one_volume_at_two_targets_has_two_records(tmp_path: Path) -> None:
    files = RecordFiles(tmp_path)
    other = replace(RECORD, publication=replace(PUBLICATION, target=Path("/pods/2/mount")))
    files.write(RECORD)
    files.write(other)
    files.remove("volume-1", Path("/pods/1/mount"))
    assert files.read_all() == [other]


def test_removing_what_is_not_there_is_fine(tmp_path: Path) -> None:
    RecordFiles(tmp_path).remove("volume-1", Path("/pods/1/mount"))


def test_records_are_for_root_alone(tmp_path: Path) -> None:
    RecordFiles(tmp_path / "volumes").write(RECORD)
    assert (tmp_path / "volumes").stat().st_mode & 0o777 == 0o700
    assert only_file(tmp_path / "volumes").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", ["", "{", "[]", "7", "{}", '{"version": 2}', '{"version": 1}'])
def test_what_is_no_record_is_left_alone(tmp_path: Path, content: str) -> None:
    files = RecordFiles(tmp_path)
    files.write(RECORD)
    only_file(tmp_path).write_text(content)
    assert files.read_all() == []
    assert only_file(tmp_path).read_text() == content


def test_a_record_nobody_understands_goes_with_its_volume(tmp_path: Path) -> None:
    files = RecordFiles(tmp_path)
    files.write(RECORD)
    only_file(tmp_path).write_text('{"version": 99}')
    files.remove("volume-1", Path("/pods/1/mount"))
    assert list(tmp_path.iterdir()) == []


def test_a_later_release_may_have_said_more(tmp_path: Path) -> None:
    files = RecordFiles(tmp_path)
    files.write(RECORD)
    said = json.loads(only_file(tmp_path).read_text())
    said["novelty"] = 1
    said["pod"]["novelty"] = 1
    said["publication"]["arguments"]["attributes"]["novelty"] = 1
    only_file(tmp_path).write_text(json.dumps(said))
    assert files.read_all() == [RECORD]


def test_an_earlier_release_may_have_said_less(tmp_path: Path) -> None:
    files = RecordFiles(tmp_path)
    files.write(RECORD)
    said = json.loads(only_file(tmp_path).read_text())
    del said["publication"]["arguments"]["attributes"]["region"]
    only_file(tmp_path).write_text(json.dumps(said))
    assert files.read_all() == [RECORD]


def test_a_draft_of_a_life_that_ended_is_removed(tmp_path: Path) -> None:
    files = RecordFiles(tmp_path)
    (tmp_path / "x.new").write_text("{")
    assert files.read_all() == []
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_takes_nothing_may_pass(tmp_path: Path) -> None:
    files = RecordFiles(tmp_path / "volumes")
    (tmp_path / "volumes").rmdir()
    with pytest.raises(UnavailableError, match="publish record"):
        files.write(RECORD)
