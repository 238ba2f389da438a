"""Publishing what lies in S3: on a real server, and on one that lists what no real one keeps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import quote
from xml.sax.saxutils import escape

import anyio
import botocore.session
import pytest

from cachesvc.errors import StoreError
from cachesvc.objectstore.origin import parse_origin
from tests.fault.publisher import Silence
from tests.seaweed import SeaweedServer
from vfs.errors import SourceEmptyError
from vfs.manifest.inode import Inode, Kind
from vfs.snapshots.dataset import DEFAULT_REPOSITORY, Dataset
from vfs.snapshots.names import SkipReason
from vfs.snapshots.publish import Published, PublishOptions, publish
from vfs.snapshots.repository import opened_repository

BODY = b"body"
LISTED_NS = 1_704_067_200 * 10**9
BODY_ETAG = "841a2d689ad86bd1611447453c22c6fc"


def dataset_of(url: str, environ: Mapping[str, str], repository: str | None = None) -> Dataset:
    return Dataset(
        parse_origin(url, environ=environ),
        parse_origin(repository or f"{url}/{DEFAULT_REPOSITORY}", environ=environ),
        None,
    )


def put(server: SeaweedServer, url: str, *keys: str, body: bytes = BODY) -> None:
    environ = server.environ
    client = botocore.session.get_session().create_client(
        "s3",
        endpoint_url=server.endpoint,
        region_name=environ["AWS_REGION"],
        aws_access_key_id=environ["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environ["AWS_SECRET_ACCESS_KEY"],
    )
    prefix = url.removeprefix(f"s3://{server.bucket}/")
    for key in keys:
        client.put_object(Bucket=server.bucket, Key=f"{prefix}/{key}", Body=body)


def published(dataset: Dataset, **options: object) -> Published:
    return anyio.run(publish, dataset, PublishOptions(**options), Silence())  # type: ignore[arg-type]


def inodes(dataset: Dataset) -> dict[bytes, Inode]:
    async def read() -> dict[bytes, Inode]:
        async with opened_repository(dataset.repository) as repository:
            tree = await repository.open("main")
            count = tree.superblock.inode_count
            return {await tree.path_of(n): await tree.inode(n) for n in range(1, count + 1)}

    return anyio.run(read)


def test_objects_become_files_with_size_and_etag(s3_server: SeaweedServer, s3_url: str) -> None:
    put(s3_server, s3_url, "plain", "d/e/f", "sp ace/ü.txt", "%41+?x#y", "new\nline")
    dataset = dataset_of(s3_url, s3_server.environ)
    assert published(dataset).written.file_count == 5
    found = inodes(dataset)
    names = {b"plain", b"d/e/f", "sp ace/ü.txt".encode(), b"%41+?x#y", b"new\nline"}
    assert {path for path, inode in found.items() if inode.kind is Kind.FILE} == names
    for name in names:
        assert (found[name].size, found[name].version, found[name].mode) == (4, BODY_ETAG, 0o644)
        assert found[name].mtime_ns > 0


def test_a_directory_wins_over_an_object_of_the_same_name(
    s3_server: SeaweedServer, s3_url: str
) -> None:
    put(s3_server, s3_url, "a", "a/b", "a-", "kept", "m/")
    dataset = dataset_of(s3_url, s3_server.environ)
    assert published(dataset).skipped.counts[SkipReason.SHADOWED] == 1
    found = inodes(dataset)
    assert set(found) == {b"", b"a", b"a/b", b"a-", b"kept", b"m"}
    assert found[b"a"].kind is Kind.DIRECTORY
    assert found[b"m"].kind is Kind.DIRECTORY


def test_the_repository_in_the_source_is_not_part_of_the_snapshot(
    s3_server: SeaweedServer, s3_url: str
) -> None:
    put(s3_server, s3_url, "one")
    dataset = dataset_of(s3_url, s3_server.environ)
    first = published(dataset)
    again = published(dataset)
    assert first.moved
    assert not again.moved
    assert set(inodes(dataset)) == {b"", b"one"}


def test_hashes_are_read_from_the_objects(s3_server: SeaweedServer, s3_url: str) -> None:
    put(s3_server, s3_url, "one", "two")
    dataset = dataset_of(s3_url, s3_server.environ)
    published(dataset, hashed=True)
    assert inodes(dataset)[b"one"].hashed


def test_a_prefix_without_objects_is_an_error(s3_server: SeaweedServer, s3_url: str) -> None:
    with pytest.raises(SourceEmptyError, match="holds no objects"):
        published(dataset_of(s3_url, s3_server.environ))


def test_a_bucket_that_does_not_exist_is_an_error(s3_server: SeaweedServer) -> None:
    with pytest.raises(StoreError, match="no-such-bucket"):
        published(dataset_of("s3://no-such-bucket/data", s3_server.environ))


@contextmanager
def server_listing(keys: list[str]) -> Iterator[str]:
    """Run a server that answers everything with a listing of *keys*; yield its endpoint."""
    entries = "".join(
        f"<Contents><Key>{escape(quote(key, safe='/'))}</Key><Size>4</Size>"
        f"<LastModified>2024-01-01T00:00:00.000Z</LastModified>"
        f"<ETag>&quot;{BODY_ETAG}&quot;</ETag></Contents>"
        for key in keys
    )
    answer = (
        '<?xml version="1.0"?><ListBucketResult><IsTruncated>false</IsTruncated>'
        f"<EncodingType>url</EncodingType>{entries}</ListBucketResult>"
    ).encode()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("engine", ["auto", "fsspec"])
def test_keys_that_real_servers_refuse_are_skipped_and_never_escape(
    engine: str, tmp_path: Path
) -> None:
    bad = [
        "a//b",
        "/lead",
        "dot/./b",
        "dot/../c",
        "up/..",
        "../escape",
        "nul\0",
        "L" * 256,
        "..",
        "//",
    ]
    good = ["a/b", "dots/...", "d/marker/", "z"]
    with server_listing([f"data/{key}" for key in [*bad, *good]]) as endpoint:
        settings = {
            "endpoint_url": endpoint,
            "anon": "true",
            "region": "us-east-1",
            "engine": engine,
        }
        source = parse_origin("s3://bucket/data", settings, {})
        dataset = Dataset(source, parse_origin(str(tmp_path)), None)
        outcome = published(dataset)
    assert outcome.skipped.counts == {
        SkipReason.EMPTY_COMPONENT: 3,
        SkipReason.DOT_COMPONENT: 5,
        SkipReason.NUL: 1,
        SkipReason.LONG_COMPONENT: 1,
        SkipReason.MARKER_CONTENT: 1,
    }
    found = inodes(dataset)
    files = {path for path, inode in found.items() if inode.kind is Kind.FILE}
    assert files == {b"a/b", b"dots/...", b"z"}
    for directory in (b"d/marker", b"a"):  # its marker's time, and that of its newest child
        assert found[directory].mtime_ns == LISTED_NS
        assert found[directory].mode == 0o755
