"""A dataset in a bucket, published, and with what one may read it: what nodes are tried on."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from tests.csi.cluster import HEADRACE
from tests.csi.pods import Volume
from tests.seaweed import ACCESS_KEY, REGION, SECRET_KEY, SeaweedServer

FILES: Mapping[str, bytes] = {
    "train/cat.txt": b"cat\n" * 100,
    "train/dog.txt": b"dog\n" * 5000,
    "test/bird.txt": b"bird\n",
    "readme": b"all of it\n",
}


@dataclass(frozen=True, slots=True)
class Bucket:
    """A dataset that was published, and with what one may read it."""

    url: str
    secrets: Mapping[str, str]
    environment: Mapping[str, str]

    def volume(self, name: str = "data", **attributes: str) -> Volume:
        """Return an inline volume that shows the dataset."""
        return Volume(name, {"dataset": self.url, **attributes}, self.secrets)

    def snapshot(self, source: Path, *words: str) -> str:
        """Upload a directory, publish the dataset again and return the snapshot's id."""
        upload(source, self)
        done = subprocess.run(
            [HEADRACE, "snapshot", self.url, *words],
            env=self.environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()


def upload(source: Path, bucket: Bucket) -> None:
    """Put all files of a directory below the dataset's URL."""
    import s3fs  # noqa: PLC0415 - 0.5 s that most runs of one test need not pay

    store = s3fs.S3FileSystem(
        key=ACCESS_KEY, secret=SECRET_KEY, endpoint_url=bucket.secrets["endpoint"]
    )
    store.put(f"{source}/", f"{bucket.url.removeprefix('s3://')}/", recursive=True)


def write_files(directory: Path, files: Mapping[str, bytes] = FILES) -> Path:
    """Write *files* below *directory* and return it."""
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return directory


def new_bucket(server: SeaweedServer, home: Path) -> Bucket:
    """Return a place of its own on the server in which nothing lies yet."""
    return Bucket(
        server.url(f"csi-{uuid4().hex[:12]}"),
        {
            "accessKeyId": ACCESS_KEY,
            "secretAccessKey": SECRET_KEY,
            "endpoint": server.endpoint,
            "region": REGION,
        },
        {**server.environ, "PATH": "/usr/bin:/bin", "HOME": str(home)},
    )
