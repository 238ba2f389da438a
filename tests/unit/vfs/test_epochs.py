"""The record of a mount's versions: one writer, many readers, one store that decides."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from vfs.errors import MountError
from vfs.serving import epochs as module
from vfs.serving.epochs import Epochs, EpochWriter, create_epochs
from vfs.snapshots.repository import StoredSnapshot

SNAPSHOTS = [StoredSnapshot(f"{number:040x}", 1000 + number) for number in range(9)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A record whose epoch 0 is the first snapshot."""
    made = tmp_path / "epochs"
    create_epochs(made, SNAPSHOTS[0])
    return made


def test_a_reader_sees_each_epoch_as_soon_as_it_is_written(path: Path) -> None:
    reader, writer = Epochs(path), EpochWriter(path)
    for epoch, snapshot in enumerate(SNAPSHOTS):
        if epoch:
            writer.append(snapshot)
        assert reader.current == writer.current == epoch
        assert [reader.snapshot(each) for each in range(epoch + 1)] == SNAPSHOTS[: epoch + 1]
    writer.announce(3)
    assert reader.announced == 3
    reader.close()
    writer.close()


def test_a_record_is_created_once(path: Path) -> None:
    """Whoever comes second finds what is there, and leaves no draft behind."""
    create_epochs(path, SNAPSHOTS[1])
    reader = Epochs(path)
    assert reader.snapshot(0) == SNAPSHOTS[0]
    reader.close()
    assert os.listdir(path.parent) == ["epochs"]


def test_only_one_process_may_switch(path: Path) -> None:
    writer = EpochWriter(path)
    with pytest.raises(MountError, match="another checkout"):
        EpochWriter(path)
    writer.close()
    EpochWriter(path).close()


def test_who_is_killed_before_the_last_store_has_not_switched(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record of the next epoch may lie there already: it does not count."""
    pid = os.fork()
    if pid == 0:
        writer = EpochWriter(path)
        monkeypatch.setattr(module, "_record", lambda _: os.kill(os.getpid(), signal.SIGKILL))
        writer.append(SNAPSHOTS[1])
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    writer = EpochWriter(path)
    assert writer.current == 0
    writer.append(SNAPSHOTS[2])
    assert (writer.current, writer.snapshot(1)) == (1, SNAPSHOTS[2])
    writer.close()


def test_there_is_an_end_to_the_room(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EPOCH_LIMIT", 2)
    writer = EpochWriter(path)
    writer.append(SNAPSHOTS[1])
    with pytest.raises(MountError, match="mount anew"):
        writer.append(SNAPSHOTS[2])
    assert writer.current == 1
    writer.close()


@pytest.mark.parametrize("content", [b"", b"hdrepoc1", b"x" * module.FILE_SIZE])
def test_another_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "epochs"
    path.write_bytes(content)
    for kind in (Epochs, EpochWriter):
        with pytest.raises(MountError, match="no record"):
            kind(path)
