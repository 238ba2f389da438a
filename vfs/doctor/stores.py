"""Findings about object stores: whether what live mounts read from answers.

The keeper tells, to this user alone, with which settings a mount asks; they are used and never
shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import anyio

from cachesvc.errors import AccessDeniedError, HeadraceError, ObjectMissingError
from cachesvc.objectstore.open import open_store
from cachesvc.objectstore.origin import Origin
from vfs.doctor.child import Question, ask_children
from vfs.doctor.finding import Finding, ok, warning
from vfs.doctor.scene import Scene
from vfs.mounting.record import MountRecord
from vfs.snapshots.dataset import DEFAULT_REF
from vfs.snapshots.refs import REF_PREFIX

STORE_SECONDS = 5.0


def store_findings(scene: Scene) -> Iterator[Finding]:
    """Ask the source of each live mount, and its repository, for one object's head."""
    for seen in scene.live_mounts:
        record = (scene.held or {}).get(seen.key or "")
        if record is None:
            yield warning(
                str(seen.info.mountpoint),
                "whether its store answers is not known",
                "the keeper does not tell with which settings to ask; look again",
            )
            continue
        for origin in _origins(record):
            yield _judged(origin, record, _reason_for_silence(origin, record))


def _origins(record: MountRecord) -> list[Origin]:
    source, repository = record.spec.source, record.spec.repository
    return [repository] if repository.root.startswith(source.root) else [repository, source]


def _judged(origin: Origin, record: MountRecord, reason: str) -> Finding:
    place = f"{origin.root}, mounted at {record.spec.mountpoint}"
    if not reason:
        return ok(place, "it answers")
    advice = "reads of what is not cached wait or fail until it does"
    return warning(place, f"it cannot be reached: {reason}", advice)


def _reason_for_silence(origin: Origin, record: MountRecord) -> str:
    """Return why nothing can be had from there, empty when something can."""
    if origin.protocol == "file":
        (answer,) = ask_children([Question("mount", Path(origin.address))], STORE_SECONDS)
        return "no answer in time" if answer is None else str(answer["error"])
    try:
        anyio.run(_ask, origin, record, backend="asyncio")
    except TimeoutError:
        return f"no answer within {STORE_SECONDS:g} s"
    except HeadraceError as error:
        return str(error)
    return ""


async def _ask(origin: Origin, record: MountRecord) -> None:
    """Ask for a ref's head; that there is none is an answer too. Raises StoreError."""
    is_repository = origin is record.spec.repository
    store = open_store(origin)
    try:
        with anyio.fail_after(STORE_SECONDS):
            await store.head(f"{REF_PREFIX}{record.spec.ref or DEFAULT_REF}")
    except ObjectMissingError:
        pass
    except AccessDeniedError:
        # Who may not list a bucket is refused what is not there.
        if is_repository:
            raise
    finally:
        await store.aclose()
