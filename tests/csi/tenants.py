"""Tenants of one S3 server: users with rights of their own, and a dataset that some may read."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

from tests.csi.bucket import Bucket, write_files
from tests.csi.pods import Volume
from tests.fakes.faultproxy import FaultProxy, fault_proxy
from tests.fakes.sts import FakeSts
from tests.seaweed import REGION, SeaweedServer, Tenant, seaweed

BUCKET = "tenants"
DATASET = f"s3://{BUCKET}/a"
OWNER = Tenant("tenant-a", (f"Read:{BUCKET}/a*",))
COLLEAGUE = Tenant("tenant-c", (f"Read:{BUCKET}/a*",))
REFS_ONLY = Tenant("tenant-refs", (f"Read:{BUCKET}/a/.headrace*",))
STRANGER = Tenant("tenant-b", (f"Read:{BUCKET}/b*", f"Write:{BUCKET}/b*"))
CONTENT = {f"d/f{number:02}": os.urandom(50_000 + number) for number in range(40)}
COLD = {f"d{number}/file": os.urandom(30_000) for number in range(4)}
"""One file a directory: to read one has no other fetched."""
ROLE = "arn:aws:iam::123456789012:role/reader"


@dataclass(frozen=True, slots=True)
class Store:
    """The server, the way to it that everybody takes, and the dataset there."""

    server: SeaweedServer
    proxy: FaultProxy

    directory: Path

    def fresh(self) -> str:
        """Publish a dataset of which nobody has read anything, and return where it is."""
        name = uuid4().hex[:8]
        dataset = f"{DATASET}/{name}"
        publish(self, dataset, write_files(self.directory / name, COLD))
        return dataset

    def secrets(self, who: Tenant) -> dict[str, str]:
        """Return what a pod's secret holds."""
        return {
            "accessKeyId": who.name,
            "secretAccessKey": who.secret,
            "endpoint": self.proxy.endpoint,
            "region": REGION,
        }

    def volume(self, who: Tenant, name: str = "data", **attributes: str) -> Volume:
        """Return a volume that shows the dataset as somebody."""
        return Volume(name, {"dataset": DATASET, **attributes}, self.secrets(who))

    def role_volume(self, name: str = "data", **attributes: str) -> Volume:
        """Return a volume that shows the dataset as whoever may take the role."""
        place = {"dataset": DATASET, "endpoint": self.proxy.endpoint, "region": REGION}
        return Volume(name, {**place, "roleArn": ROLE, **attributes})

    def data_requests(self) -> int:
        """Return how many times files of the dataset were asked for."""
        return self.proxy.count("GET", "/a/d/")


@contextmanager
def tenants_store(directory: Path) -> Iterator[Store]:
    """Give a server with all tenants, on which the dataset is published."""
    users = [OWNER, COLLEAGUE, REFS_ONLY, STRANGER]
    with seaweed(BUCKET, users) as server, fault_proxy(server.endpoint) as proxy:
        store = Store(server, proxy, directory)
        publish(store, DATASET, write_files(directory / "files", CONTENT))
        yield store


def publish(store: Store, dataset: str, files: Path) -> None:
    """Upload files and make a snapshot of them, as the owner of the server."""
    environment = {
        **replace(store.server, endpoint=store.proxy.endpoint).environ,
        "PATH": "/usr/bin:/bin",
        "HOME": str(store.directory),
    }
    Bucket(dataset, {"endpoint": store.proxy.endpoint}, environment).snapshot(files)


def grant(sts: FakeSts, tokens: Mapping[str, Tenant]) -> None:
    """Let each token buy the credentials of a tenant."""
    for token, who in tokens.items():
        sts.grants[ROLE, token] = (who.name, who.secret)
