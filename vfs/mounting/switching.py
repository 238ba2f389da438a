"""The supervisor's end of a version switch: a process that does it, on a copy of the connection."""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import trio

from vfs.errors import MountError
from vfs.mounting.keeping import HeldMount
from vfs.mounting.state import load_state, mount_directory, save_state
from vfs.serving.epochs import EPOCHS_FILE, Epochs

log = logging.getLogger(__name__)


async def switch_to(mount: HeldMount, name: str) -> dict[str, Any]:
    """Show the snapshot *name* at *mount* and return what changed. Raises MountError.

    A switch that was interrupted has happened or has not; what was left to do for it is done.
    """
    answer = await _order(mount, name)
    if answer is None:
        await catch_up(mount)
        raise MountError("the checkout was interrupted; look with 'headrace list' and do it again")
    if "error" in answer:
        raise MountError(answer["error"])
    _record(mount, name)
    return answer


async def catch_up(mount: HeldMount) -> None:
    """Finish a switch that was interrupted, if there was one; what prevents it is logged."""
    path = mount_directory(mount.record.key) / EPOCHS_FILE
    try:
        if path.exists() and _is_behind(path):
            answer = await _order(mount, None)
            log.info("%s: finished a switch: %s", mount.record.spec.mountpoint, answer)
        _record(mount, None)
    except MountError as error:
        log.error("%s: cannot finish a switch: %s", mount.record.spec.mountpoint, error)


def _is_behind(path: Path) -> bool:
    epochs = Epochs(path)
    try:
        return epochs.announced < epochs.current
    finally:
        epochs.close()


async def _order(mount: HeldMount, name: str | None) -> dict[str, Any] | None:
    """Have a process of its own do it; return its answer, None when it died."""
    order = json.dumps({"spec": mount.record.spec.to_json(), "name": name})
    done = await trio.run_process(
        [sys.executable, "-P", "-m", "vfs.mounting.versions", str(mount.connection)],
        stdin=order.encode(),
        capture_stdout=True,
        pass_fds=(mount.connection,),
        cwd="/",
        start_new_session=True,
        check=False,
    )
    answer: dict[str, Any] | None = json.loads(done.stdout) if done.returncode == 0 else None
    return answer


def _record(mount: HeldMount, name: str | None) -> None:
    """Write down for `headrace list` what the mount shows, and by which name, if that is known."""
    state = load_state(mount.record.key)
    if state is None:
        return
    epochs = Epochs(mount_directory(mount.record.key) / EPOCHS_FILE)
    shown = tuple(epochs.snapshot(epoch).snapshot_id for epoch in range(epochs.current + 1))
    epochs.close()
    ref = state.ref if shown == state.snapshots else shown[-1]
    save_state(replace(state, ref=name or ref, snapshots=shown))
