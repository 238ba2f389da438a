"""Findings about the directories that headrace writes to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from cachesvc.config import CacheConfig
from vfs.doctor.child import ANSWER_SECONDS, Answer, Question, ask_children
from vfs.doctor.finding import Finding, ok, problem, warning
from vfs.doctor.scene import Scene
from vfs.mounting.mountinfo import MountInfo, mount_table

RUNTIME_FLOOR = 1 << 20
"""Room for some state files and sockets."""
NETWORKED = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "glusterfs", "gpfs", "lustre", "nfs", "nfs4", "smb3"}
)


def disk_findings(scene: Scene) -> Iterator[Finding]:
    """Look at the runtime directory and at each cache, store included."""
    caches = scene.cache_directories
    answers = ask_children(
        [
            Question("directory", scene.runtime),
            *(Question("directory", cache) for cache in caches),
            *(Question("store", cache) for cache in caches),
        ]
    )
    directories, stores = answers[1 : 1 + len(caches)], answers[1 + len(caches) :]
    yield judged_runtime(scene.runtime, answers[0])
    table = mount_table()
    for cache, directory, store in zip(caches, directories, stores, strict=True):
        yield from judged_cache(cache, directory, table)
        if directory is not None and not directory["error"]:
            yield judged_store(cache, store)


def judged_runtime(path: Path, answer: Answer | None) -> Finding:
    """Judge the runtime directory."""
    place = f"runtime directory {path}"
    if trouble := _trouble(answer, RUNTIME_FLOOR):
        return problem(place, trouble, "make room, or set HEADRACE_RUNTIME_DIR")
    return ok(place, "it can be written")


def judged_cache(
    path: Path, answer: Answer | None, table: Sequence[MountInfo]
) -> Iterator[Finding]:
    """Judge a cache directory by its room and its file system."""
    place = f"cache directory {path}"
    if answer is not None and answer["error"] == "ENOENT":
        yield ok(place, "it is not there yet; the first mount makes it")
        return
    if trouble := _trouble(answer, CacheConfig(path).free_floor):
        advice = "make room, or name another one with --cache-dir; reads go on without caching"
        yield problem(place, trouble, advice)
    else:
        yield ok(place, "it can be written")
    filesystem = filesystem_of(Path(answer["path"]), table) if answer and "path" in answer else ""
    if filesystem in NETWORKED or filesystem.startswith("fuse"):
        yield warning(place, f"it lies on {filesystem}", "use a local disk: --cache-dir")


def judged_store(path: Path, answer: Answer | None) -> Finding:
    """Judge what lies in a cache directory by whether a reader can open it."""
    place = f"cache store of {path}"
    if answer is None:
        return problem(place, f"it could not be opened within {ANSWER_SECONDS:g} s", _RENEW)
    if answer["error"]:
        return warning(place, answer["error"], _RENEW)
    return ok(place, "it can be read")


_RENEW = "'headrace cache stop' and delete the directory: what is needed is fetched again"


def filesystem_of(path: Path, table: Sequence[MountInfo]) -> str:
    """Return the type of the file system that *path*, which has no symlinks, lies on."""
    around = [info for info in table if path.is_relative_to(info.mountpoint)]
    # Of equals the last mounted is on top.
    best = max(enumerate(around), key=lambda item: (len(item[1].mountpoint.parts), item[0]))
    return best[1].filesystem


def _trouble(answer: Answer | None, floor: int) -> str:
    """Return what keeps a directory from being written to, empty when nothing does."""
    if answer is None:
        return f"its file system did not answer within {ANSWER_SECONDS:g} s"
    if answer["error"]:
        return f"it cannot be written: {answer['error']}"
    free: int = answer["free"]
    return f"{free >> 20} MiB are free, less than {floor >> 20}" if free < floor else ""
