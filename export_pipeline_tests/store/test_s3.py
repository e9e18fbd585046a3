import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from export_pipeline.store import NotFoundError, StoreError, open_store
from export_pipeline.store.s3 import S3Store
from export_pipeline_tests.services.fixtures import Bucket
from export_pipeline_tests.services.process import free_ports
from export_pipeline_tests.services.s3 import S3Server
from export_pipeline_tests.store.putting import put

KEY = "exports/a%2Fb/1.csv"
CSV = "text/csv; charset=utf-8"
LARGE = 16 * 2**20 + 7


@pytest.fixture
def client(bucket: Bucket) -> Any:
    """A client that tries twice at most, so that faults cost no time."""
    from botocore.config import Config

    return bucket.server.client(config=Config(retries={"mode": "standard", "total_max_attempts": 2}))


@pytest.fixture
def store(bucket: Bucket, client: Any) -> S3Store:
    store = open_store(bucket.url, endpoint_url=bucket.server.endpoint_url, clients=lambda _: client)
    assert isinstance(store, S3Store)
    return store


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large"
    path.write_bytes(os.urandom(LARGE))
    return path


def unfinished(bucket: Bucket) -> list[str]:
    return [
        u["Key"] for u in bucket.server.client().list_multipart_uploads(Bucket=bucket.name).get("Uploads", ())
    ]


def answer(status: int, body: bytes = b"") -> Any:
    from botocore.awsrequest import AWSResponse

    class Raw:
        def stream(self, *_: object, **__: object) -> Any:
            yield body

    return AWSResponse("http://fault", status, {}, Raw())


# --- faults


@pytest.mark.parametrize("event", ["CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"])
def test_a_server_error_is_tried_again(
    store: S3Store, client: Any, bucket: Bucket, large: Path, event: str
) -> None:
    calls: list[int] = []

    def fail_once(**_: object) -> Any:
        calls.append(1)
        return answer(503) if len(calls) == 1 else None

    client.meta.events.register(f"before-send.s3.{event}", fail_once)
    put(store, large, KEY, media_type=CSV, file_name="a.csv")
    assert len(calls) >= 2
    assert store.stat(KEY).bytes == LARGE
    assert unfinished(bucket) == []


@pytest.mark.parametrize("event", ["UploadPart", "CompleteMultipartUpload"])
def test_an_upload_that_fails_leaves_nothing(
    store: S3Store, client: Any, bucket: Bucket, large: Path, event: str
) -> None:
    store.put_bytes(b"old", KEY, media_type=CSV)
    client.meta.events.register(f"before-send.s3.{event}", lambda **_: answer(500))
    with pytest.raises(StoreError, match=r"Cannot store exports/a%2Fb/1\.csv: the server answered 500"):
        put(store, large, KEY, media_type=CSV, file_name="a.csv")
    assert store.stat(KEY).bytes == 3
    assert unfinished(bucket) == []


def test_a_lost_answer_to_the_completing_request(
    store: S3Store, client: Any, bucket: Bucket, large: Path
) -> None:
    """The server completes the upload, every answer is lost: the object is there, and ours."""
    other = bucket.server.client()

    def complete_and_lose(request: Any, **_: object) -> Any:
        if upload := re.search(r"uploadId=([^&]+)", request.url):
            listed = other.list_parts(Bucket=bucket.name, Key=f"team/{KEY}", UploadId=upload[1]).get(
                "Parts", ()
            )
            parts = [{"PartNumber": p["PartNumber"], "ETag": p["ETag"]} for p in listed]
            if parts:
                other.complete_multipart_upload(
                    Bucket=bucket.name,
                    Key=f"team/{KEY}",
                    UploadId=upload[1],
                    MultipartUpload={"Parts": parts},
                )
        return answer(500)

    client.meta.events.register("before-send.s3.CompleteMultipartUpload", complete_and_lose)
    stored = put(store, large, KEY, media_type=CSV, file_name="a.csv")
    assert stored.bytes == store.stat(KEY).bytes == LARGE
    with store.open(KEY) as source:
        assert source.read() == large.read_bytes()
    assert unfinished(bucket) == []


def test_bytes_damaged_on_the_way_are_refused_by_the_server(
    store: S3Store, client: Any, bucket: Bucket, large: Path
) -> None:
    def damage(params: dict[str, Any], **_: object) -> None:
        body = bytearray(params["body"].read())
        body[1000] ^= 1
        params["body"] = bytes(body)

    client.meta.events.register("before-call.s3.UploadPart", damage)
    with pytest.raises(StoreError, match="damaged on the way"):
        put(store, large, KEY, media_type=CSV, file_name="a.csv")
    client.meta.events.register("before-call.s3.PutObject", damage)
    large.write_bytes(b"x" * 2000)
    with pytest.raises(StoreError, match="damaged on the way"):
        put(store, large, KEY, media_type=CSV, file_name="a.csv")
    assert not store.exists(KEY)
    assert unfinished(bucket) == []


def test_the_whole_file_s_checksum_is_the_server_s_too(
    store: S3Store, client: Any, bucket: Bucket, large: Path
) -> None:
    """Whole parts in the wrong order pass the parts' checksums, not the file's."""

    def swap(params: dict[str, Any], **_: object) -> None:
        params["headers"]["x-amz-checksum-crc32"] = "AAAAAA=="

    client.meta.events.register("before-call.s3.CompleteMultipartUpload", swap)
    with pytest.raises(StoreError, match="damaged on the way"):
        put(store, large, KEY, media_type=CSV, file_name="a.csv")
    assert not store.exists(KEY)
    assert unfinished(bucket) == []


def test_a_newer_put_ends_an_older_unfinished_one(
    store: S3Store, bucket: Bucket, large: Path, tmp_path: Path
) -> None:
    newer = tmp_path / "newer"
    newer.write_bytes(b"newer")
    with pytest.raises(StoreError, match="ended by another one of the same key"):
        put(
            store,
            large,
            KEY,
            media_type=CSV,
            file_name="a.csv",
            before_visible=lambda: void(put(store, newer, KEY, media_type=CSV, file_name="a.csv")),
        )
    assert store.stat(KEY).bytes == 5
    assert unfinished(bucket) == []


def void(_: object) -> None:
    return None


def test_clean_is_bounded_by_prefix_and_age(store: S3Store, bucket: Bucket) -> None:
    other = bucket.server.client()
    for name in ("team/exports/x.csv", "team/y.csv", "teamwork/z.csv"):
        other.create_multipart_upload(Bucket=bucket.name, Key=name)
    assert store.clean(timedelta(hours=1)) == 0
    assert store.clean(timedelta(0)) == 2
    assert unfinished(bucket) == ["teamwork/z.csv"]


# --- links


def test_a_link_gives_the_file_with_its_name_and_type(store: S3Store, tmp_path: Path) -> None:
    local = tmp_path / "x"
    local.write_bytes(b"hello")
    put(store, local, KEY, media_type=CSV, file_name='Résumé "報告".csv')
    with urlopen(store.signed_url(KEY, expires_seconds=60)) as got:
        assert got.read() == b"hello"
        assert got.headers["Content-Type"] == CSV
        assert got.headers["Content-Disposition"].endswith(
            "filename*=UTF-8''R%C3%A9sum%C3%A9%20_%E5%A0%B1%E5%91%8A_.csv"
        )
    link = store.signed_url(
        KEY, expires_seconds=60, file_name="=a\r\nX: y\u202e.csv", media_type="application/json"
    )
    with urlopen(link) as got:
        assert got.headers["Content-Type"] == "application/json"
        assert got.headers["Content-Disposition"] == (
            "attachment; filename=\"_=a__X_ y_.csv\"; filename*=UTF-8''_%3Da__X_%20y_.csv"
        )
        assert got.headers["X"] is None


@pytest.mark.slow
def test_an_expired_or_changed_link_is_refused(store: S3Store) -> None:
    store.put_bytes(b"x", KEY, media_type=CSV)
    store.put_bytes(b"x", "exports/b/1.csv", media_type=CSV)
    link = store.signed_url(KEY, expires_seconds=1, file_name="a.csv")
    for changed in (
        link.replace("exports/a%252Fb/", "exports/b/"),
        link.replace("X-Amz-Expires=1&", "X-Amz-Expires=600000&"),
        link.replace("a.csv", "b.exe"),
        link.split("?")[0],
    ):
        assert changed != link
        with pytest.raises(HTTPError, match="403"):
            urlopen(changed)
    time.sleep(2.1)
    with pytest.raises(HTTPError, match="403"):
        urlopen(link)


def test_links_are_signed_for_the_public_endpoint(bucket: Bucket, s3: S3Server) -> None:
    """The host is part of the signature: the same server by its other name."""
    asked = []

    def clients(endpoint: str | None) -> Any:
        asked.append(endpoint)
        return s3.client(endpoint_url=endpoint)

    public = s3.endpoint_url.replace("127.0.0.1", "localhost")
    store = open_store(bucket.url, endpoint_url=s3.endpoint_url, public_endpoint_url=public, clients=clients)
    store.put_bytes(b"hello", KEY, media_type=CSV)
    link = store.signed_url(KEY, expires_seconds=60)
    assert link.startswith(public)
    assert asked == [s3.endpoint_url, public]
    with urlopen(link) as got:
        assert got.read() == b"hello"
    with pytest.raises(HTTPError, match="403"):
        urlopen(link.replace("localhost", "127.0.0.1"))


@pytest.mark.slow
def test_links_of_a_handed_in_client_are_signed_by_version_4(bucket: Bucket, s3: S3Server) -> None:
    from dagster_aws.s3 import S3Resource

    resource = S3Resource(
        endpoint_url=s3.endpoint_url, aws_access_key_id=s3.access_key, aws_secret_access_key=s3.secret_key
    )
    store = open_store(bucket.url, clients=lambda _: resource.get_client())
    store.put_bytes(b"hello", KEY, media_type=CSV)
    link = store.signed_url(KEY, expires_seconds=60)
    assert "X-Amz-Signature=" in link
    with urlopen(link) as got:
        assert got.read() == b"hello"


# --- what people get wrong


@pytest.mark.parametrize("wrong", ["aws_secret_access_key", "aws_access_key_id"])
def test_wrong_credentials_are_reported(bucket: Bucket, s3: S3Server, wrong: str) -> None:
    store = open_store(bucket.url, clients=lambda _: s3.client(**{wrong: "wrong"}))
    with pytest.raises(StoreError, match="does not accept the credentials: correct the access key"):
        store.check()


def test_a_missing_bucket_is_reported(s3: S3Server) -> None:
    store = open_store("s3://no-such-bucket/x", endpoint_url=s3.endpoint_url, clients=lambda _: s3.client())
    with pytest.raises(StoreError, match=r"'no-such-bucket' does not exist at http.*: create it"):
        store.check()


def test_no_credentials_and_no_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    nowhere = f"http://127.0.0.1:{free_ports(1)[0]}"
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(StoreError, match="no credentials found: set AWS_ACCESS_KEY_ID"):
        open_store("s3://bucket/x", endpoint_url=nowhere).check()

    from botocore.config import Config

    def impatient(endpoint: str | None) -> Any:
        import boto3

        once = Config(retries={"total_max_attempts": 1})
        return boto3.client(
            "s3", endpoint_url=endpoint, aws_access_key_id="a", aws_secret_access_key="b", config=once
        )

    with pytest.raises(StoreError, match=f"{nowhere} cannot be reached: check the endpoint"):
        open_store("s3://bucket/x", endpoint_url=nowhere, clients=impatient).check()


def test_without_the_right_to_list_uploads_nothing_is_stored(
    store: S3Store, client: Any, bucket: Bucket, large: Path
) -> None:
    """For nothing that a killed run left on its way could be ended."""
    denied = b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
    client.meta.events.register("before-send.s3.ListMultipartUploads", lambda **_: answer(403, denied))
    asked: list[Callable[[], object]] = [
        lambda: put(store, large, KEY, media_type=CSV, file_name="a.csv"),
        lambda: store.clean(timedelta(0)),
        store.check,
    ]
    for ask in asked:
        with pytest.raises(StoreError, match="list and abort multipart uploads"):
            ask()
    assert not store.exists(KEY)
    assert unfinished(bucket) == []


# --- encryption


def test_encryption_is_asked_for(bucket: Bucket, s3: S3Server, client: Any, large: Path) -> None:
    store = open_store(bucket.url, encryption="AES256", clients=lambda _: client)
    small = large.with_name("small")
    small.write_bytes(b"x")
    for path in (large, small):
        put(store, path, KEY, media_type=CSV, file_name="a.csv")
        head = s3.client().head_object(Bucket=bucket.name, Key=f"team/{KEY}")
        assert head["ServerSideEncryption"] == "AES256"


@pytest.mark.parametrize("size", [1, LARGE])
def test_a_kms_key_is_named(bucket: Bucket, client: Any, tmp_path: Path, size: int) -> None:
    """The test server has no KMS, so this looks at the request alone."""
    sent: list[dict[str, str]] = []

    def note(params: dict[str, Any], **_: object) -> None:
        sent.append(params["headers"])

    path = tmp_path / "local"
    path.write_bytes(b"x" * size)
    client.meta.events.register("before-call.s3.PutObject", note)
    client.meta.events.register("before-call.s3.CreateMultipartUpload", note)
    for event in ("PutObject", "CreateMultipartUpload"):
        client.meta.events.register(f"before-send.s3.{event}", lambda **_: answer(400))
    store = open_store(bucket.url, encryption="aws:kms", kms_key_id="key-1", clients=lambda _: client)
    with pytest.raises(StoreError):
        put(store, path, KEY, media_type=CSV, file_name="a.csv")
    assert sent[0]["x-amz-server-side-encryption"] == "aws:kms"
    assert sent[0]["x-amz-server-side-encryption-aws-kms-key-id"] == "key-1"


# --- memory

# VmHWM, for getrusage's peak begins with that of the process that started this one.
_MEASURE = """
import re, sys
from pathlib import Path
from export_pipeline.store import open_store
from export_pipeline_tests.store.putting import put
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024
store = open_store(sys.argv[1], endpoint_url=sys.argv[2])
small = Path(sys.argv[3] + ".small"); small.write_bytes(b"x")
put(store, small, "exports/s/small.csv", media_type="text/csv", file_name="x")
before = peak()
stored = put(store, Path(sys.argv[3]), "exports/s/1.csv", media_type="text/csv", file_name="x")
print(stored.bytes, peak() - before)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(bucket: Bucket, s3: S3Server, tmp_path: Path) -> None:
    if not Path("/proc/self/status").exists():
        pytest.skip("no /proc/self/status on this system")
    grown = {}
    for size in (60 << 20, 300 << 20):
        path = tmp_path / "sparse"
        with path.open("wb") as handle:
            handle.truncate(size)
        command = [sys.executable, "-c", _MEASURE, bucket.url, s3.endpoint_url, str(path)]
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, env=os.environ | s3.environment()
        )
        stored, grown[size] = map(int, done.stdout.split())
        assert stored == size
    print(f"MB of memory by MB of file: { {size >> 20: mb for size, mb in grown.items()} }")
    assert grown[300 << 20] < 64
    assert grown[300 << 20] - grown[60 << 20] < 16


def test_not_found_names_the_key(store: S3Store) -> None:
    with pytest.raises(NotFoundError, match=r"No file exports/a%2Fb/1.csv in bucket"):
        store.stat(KEY)


def test_keys_with_escapes_reach_the_server_as_they_are(store: S3Store, bucket: Bucket) -> None:
    store.put_bytes(b"x", KEY, media_type=CSV)
    listed: Callable[..., Any] = bucket.server.client().list_objects_v2
    assert [object["Key"] for object in listed(Bucket=bucket.name)["Contents"]] == [f"team/{KEY}"]
