"""Run the reference suite, csi-sanity, against driver and controller on real mounts.

`make csi-sanity`. The program has to be on PATH; it is no part of this project.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.csi.bucket import new_bucket, write_files
from tests.csi.cluster import END_SECONDS, HEADRACE, ClusterNode, cluster_node
from tests.node import wait_until
from tests.seaweed import seaweed

PROGRAM = "csi-sanity"
SUITE_SECONDS = 900


def main() -> int:
    """Return the suite's exit code, or 1 when it is not there."""
    program = shutil.which(PROGRAM)
    if program is None:
        sys.stderr.write(f"{PROGRAM} is not on PATH: build it from kubernetes-csi/csi-test\n")
        return 1
    with seaweed() as server, tempfile.TemporaryDirectory() as scratch:
        bucket = new_bucket(server, Path(scratch))
        bucket.snapshot(write_files(Path(scratch) / "files"))
        with cluster_node("--grace=0", "--controller") as node, controller(node) as endpoint:
            words = arguments(node, endpoint, bucket.url, dict(bucket.secrets))
            return subprocess.run([program, *words], timeout=SUITE_SECONDS, check=False).returncode


@contextmanager
def controller(node: ClusterNode) -> Iterator[Path]:
    """Run the controller beside a node and give its socket."""
    endpoint = node.directory / "controller" / "csi.sock"
    endpoint.parent.mkdir()
    process = subprocess.Popen(
        [HEADRACE, "csi", "controller", f"--endpoint=unix://{endpoint}"], env=node.environment
    )
    try:
        wait_until(endpoint.exists)
        yield endpoint
    finally:
        process.terminate()
        process.wait(END_SECONDS)


def arguments(
    node: ClusterNode, controller_endpoint: Path, dataset: str, secrets: dict[str, str]
) -> list[str]:
    """Return what the suite is told; its files are JSON, which is YAML."""
    parameters, secrets_file = node.directory / "parameters.yaml", node.directory / "secrets.yaml"
    parameters.write_text(json.dumps({"dataset": dataset}))
    secrets_file.write_text(json.dumps({"NodePublishVolumeSecret": secrets}))
    place = node.kubelet.directory / "sanity"
    place.mkdir()
    return [
        f"--csi.endpoint=unix://{node.endpoint}",
        f"--csi.controllerendpoint=unix://{controller_endpoint}",
        f"--csi.mountdir={place / 'mount'}",
        f"--csi.stagingdir={place / 'staging'}",
        f"--csi.testvolumeparameters={parameters}",
        f"--csi.secrets={secrets_file}",
    ]


if __name__ == "__main__":
    sys.exit(main())
