"""Deals out blows to those who serve a node's volumes; after each, pods come and go as ever."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from tests.csi.blows import PROGRAMS, Act, Blow
from tests.csi.cluster import HOLDERS, ClusterNode
from tests.csi.kubelet import PublishError
from tests.csi.pods import Pod, Volume
from tests.node import wait_until
from vfs.mounting.process import is_alive

WHOLE_SECONDS = 60.0
PATIENCE_SECONDS = 60.0
ANSWER_SECONDS = 20


class Harm:
    """Strikes at one node, and sees that it becomes whole again before the next blow."""

    def __init__(
        self,
        node: ClusterNode,
        volumes: Sequence[Volume],
        hang_budget_seconds: float,
        chance: random.Random,
    ) -> None:
        """Let pods with one of *volumes* come and go after each blow."""
        self.dealt: list[tuple[float, Blow]] = []
        """What was done, and when."""
        self._node = node
        self._volumes = volumes
        self._hang_budget_seconds = hang_budget_seconds
        self._chance = chance

    def do(self, blow: Blow) -> None:
        """Strike as soon as everybody is there and holds everything."""
        wait_until(self._is_whole, WHOLE_SECONDS)
        self.dealt.append((time.monotonic(), blow))
        match blow.act:
            case Act.KILL:
                self._kill(blow.what)
            case Act.STOP:
                self._stop(blow.what)
            case Act.UPGRADE:
                self._upgrade(blow.what)
            case Act.PUBLISH | Act.UNPUBLISH:
                self._kill_at(blow.act, *blow.what)
        self._come_and_go(Pod(), self._chance.choice(self._volumes))

    def _is_whole(self) -> bool:
        """Say whether each holder has every connection, and each mount a worker that answers."""
        roles, mounts = self._node.roles(), self._node.source_mounts()
        held = [sum(map(connections_of, roles[role])) for role in HOLDERS]
        if any(count < len(mounts) for count in (*held, len(roles["worker"]))):
            return False
        return all(answers(info.mountpoint) for info in mounts)

    def _kill(self, roles: Sequence[str]) -> None:
        """SIGKILL one process of each role at once, of a mounter everything; start what stays."""
        for pid in [pid for role in roles for pid in self._chosen(role)]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        programs = [role for role in PROGRAMS if role in roles]
        if "mounter" in programs:
            self._node.kill("mounter")  # what was started meanwhile, as when its container dies
        self._chance.shuffle(programs)
        for program in programs:
            self._node.start(program)

    def _chosen(self, role: str) -> list[int]:
        if role == "mounter":
            return self._node.mounter_pids()
        if role in PROGRAMS:
            return [self._node.pid(role)]
        pids = self._node.roles()[role]
        return [self._chance.choice(pids)] if pids else []

    def _stop(self, roles: Sequence[str]) -> None:
        """SIGSTOP them for longer than the hang budget."""
        pids = [pid for role in roles for pid in self._chosen(role)]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            time.sleep(self._hang_budget_seconds + 1)
        finally:
            for pid in filter(is_alive, pids):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def _upgrade(self, programs: Sequence[str]) -> None:
        for program in programs:
            assert self._node.terminate(program) == 0, self._node.log()
            self._node.start(program)

    def _kill_at(self, act: Act, step: str) -> None:
        """Let the driver die at a step of another pod's publish or unpublish, and go on with it."""
        call = "publish" if act is Act.PUBLISH else "unpublish"
        pod, volume = Pod(), self._chance.choice(self._volumes)
        self._node.kill("node")
        self._node.start("node", HEADRACE_CSI_FAULT=f"{call}.{step}=kill")
        self._try_until_dead(pod, volume)
        self._node.start("node")
        if act is Act.PUBLISH:
            self._come_and_go(pod, volume)
        else:
            self._node.kubelet.unpublish_patiently(pod, volume, PATIENCE_SECONDS)

    def _try_until_dead(self, pod: Pod, volume: Volume) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self._node.is_running("node"):
            assert time.monotonic() < deadline, f"the driver lives on:\n{self._node.log()}"
            with suppress(PublishError):
                self._node.kubelet.publish(pod, volume)
                self._node.kubelet.unpublish(pod, volume)
            time.sleep(0.05)

    def _come_and_go(self, pod: Pod, volume: Volume) -> None:
        """Publish, look and unpublish, with the kubelet's patience."""
        kubelet = self._node.kubelet
        kubelet.stat(kubelet.publish_patiently(pod, volume, PATIENCE_SECONDS))
        kubelet.unpublish_patiently(pod, volume, PATIENCE_SECONDS)


def answers(mountpoint: Path) -> bool:
    """Say whether a file can be read soon, past the kernel's pages: by workers and the cache."""
    reading = subprocess.run(
        [
            *("timeout", str(ANSWER_SECONDS), "find", mountpoint, "-type", "f"),
            *("-exec", "dd", "if={}", "of=/dev/null", "iflag=nocache", "status=none", ";", "-quit"),
        ],
        check=False,
    )
    return reading.returncode == 0


def connections_of(pid: int) -> int:
    """Return how many FUSE connections a process holds."""
    held = 0
    for path in Path(f"/proc/{pid}/fd").glob("*"):
        with suppress(OSError):
            held += os.readlink(path) == "/dev/fuse"
    return held
