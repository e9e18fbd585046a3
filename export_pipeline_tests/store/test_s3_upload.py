"""Uploads to S3 while the file is still written: against servers that are slow, broken or dead."""

import os
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from export_pipeline.store import StoreError, StoreUnavailableError, open_store, s3_upload
from export_pipeline.store.s3 import S3Store
from export_pipeline_tests.services.fixtures import Bucket
from export_pipeline_tests.store.putting import begin
from export_pipeline_tests.store.test_s3 import answer, unfinished

KEY = "exports/s/1.csv"
MIB = 1 << 20


@pytest.fixture
def client(bucket: Bucket) -> Any:
    """A client that does not try again."""
    from botocore.config import Config

    return bucket.server.client(config=Config(retries={"mode": "standard", "total_max_attempts": 1}))


@pytest.fixture
def store(bucket: Bucket, client: Any) -> S3Store:
    store = open_store(bucket.url, endpoint_url=bucket.server.endpoint_url, clients=lambda _: client)
    assert isinstance(store, S3Store)
    return store


def test_parts_go_out_while_the_file_is_written(store: S3Store, client: Any, tmp_path: Path) -> None:
    arrived = threading.Event()
    client.meta.events.register("after-call.s3.UploadPart", lambda **_: arrived.set())
    with begin(store, KEY, tmp_path) as upload:
        upload.write(bytes(8 * MIB))
        assert not arrived.wait(0.2)  # so much may go in one request, if nothing follows
        upload.write(bytes(MIB))
        assert arrived.wait(240)
        assert list(store.list()) == []
        upload.publish()
    assert store.stat(KEY).bytes == 9 * MIB


def test_a_small_file_is_one_part(store: S3Store, client: Any, tmp_path: Path) -> None:
    sent = []
    client.meta.events.register("before-call.s3", lambda model, **_: sent.append(model.name))
    with begin(store, KEY, tmp_path) as upload:
        upload.write(bytes(8 * MIB))
        upload.publish()
    assert sent == [
        "CreateMultipartUpload", "ListMultipartUploads", "UploadPart", "CompleteMultipartUpload", "HeadObject",
    ]  # fmt: skip


def test_a_part_that_fails_ends_the_writing(
    store: S3Store, client: Any, bucket: Bucket, tmp_path: Path
) -> None:
    client.meta.events.register("before-send.s3.UploadPart", lambda **_: answer(500))
    written = 0
    with (
        pytest.raises(StoreUnavailableError, match=r"Cannot store exports/s/1\.csv: the server answered 500"),
        begin(store, KEY, tmp_path) as upload,
    ):
        for _ in range(200):
            written += upload.write(bytes(MIB))
            time.sleep(0.05)
    assert written < 100 * MIB
    assert unfinished(bucket) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_slow_server_holds_up_neither_the_writing_nor_the_reading_back(
    store: S3Store, client: Any, tmp_path: Path
) -> None:
    go = threading.Event()
    client.meta.events.register("before-send.s3.UploadPart", lambda **_: void(go.wait(30)))
    landed: list[int] = []
    with begin(store, KEY, tmp_path) as upload:
        for _ in range(60):
            upload.write(bytes(MIB))
        upload.finish()
        assert upload.path.stat().st_size == 60 * MIB
        threading.Timer(0.2, go.set).start()
        upload.publish(progress=landed.append)
    assert landed[-1] == 60 * MIB
    assert landed == sorted(landed)
    assert len(landed) == 8


def void(_: object) -> None:
    return None


@pytest.mark.slow
def test_one_that_gives_up_does_not_wait_for_a_dead_server(
    store: S3Store, client: Any, bucket: Bucket, tmp_path: Path
) -> None:
    """Parts and the abort itself hang for long: what is left is a clean-up's."""
    go = threading.Event()
    for event in ("UploadPart", "AbortMultipartUpload"):
        client.meta.events.register(f"before-send.s3.{event}", lambda **_: void(go.wait(120)))
    try:
        with begin(store, KEY, tmp_path) as upload:
            for _ in range(40):
                upload.write(bytes(MIB))
            started = time.monotonic()
        assert time.monotonic() - started < 60  # of its own it waits for 3 s
        assert list(tmp_path.iterdir()) == []
        assert len(unfinished(bucket)) == 1
    finally:
        go.set()
    for thread in threading.enumerate():
        if thread.name == "abort":
            thread.join(10)
    assert unfinished(bucket) == []


def test_a_part_on_a_slow_line_stops_in_the_middle(
    store: S3Store, client: Any, bucket: Bucket, tmp_path: Path
) -> None:
    sending, ended = threading.Event(), threading.Event()

    def slowly(request: Any, **_: object) -> None:
        sending.set()
        try:
            while request.body.read(1000):
                time.sleep(0.02)
        finally:
            ended.set()

    client.meta.events.register("before-send.s3.UploadPart", slowly)
    with begin(store, KEY, tmp_path) as upload:
        upload.write(bytes(9 * MIB))
        assert sending.wait(240)
    assert ended.wait(1)
    assert unfinished(bucket) == []


@pytest.mark.parametrize("size", [1000, 40 * MIB])
def test_a_local_copy_that_was_damaged_is_refused(
    store: S3Store, client: Any, tmp_path: Path, size: int
) -> None:
    go = threading.Event()
    with begin(store, KEY, tmp_path) as upload:
        client.meta.events.register("before-send.s3.UploadPart", lambda **_: void(go.wait(30)))
        upload.write(bytes(size))
        upload.finish()
        with upload.path.open("r+b") as copy:
            copy.seek(size - 10)
            copy.write(b"x")
        go.set()
        with pytest.raises(StoreError, match="damaged on the way"):
            upload.publish()
    assert not store.exists(KEY)
    assert store.clean(timedelta(0)) == 0


def test_parts_grow_with_the_file(
    store: S3Store, client: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """So that 10,000 of them, which is all that S3 takes, hold what a database gives."""
    monkeypatch.setattr(s3_upload, "PART_BYTES", 5 * MIB)
    monkeypatch.setattr(s3_upload, "_PARTS_OF_A_SIZE", 2)
    sizes: dict[int, int] = {}

    def note(params: dict[str, Any], **_: object) -> None:
        sizes[params["PartNumber"]] = params["Body"].getbuffer().nbytes

    client.meta.events.register("before-parameter-build.s3.UploadPart", note)
    with begin(store, KEY, tmp_path) as upload:
        for _ in range(41):
            upload.write(os.urandom(MIB))
        stored = upload.publish()
    assert [sizes[number] // MIB for number in sorted(sizes)] == [5, 5, 10, 10, 11]
    with store.open(KEY) as source:
        assert len(source.read()) == stored.bytes == 41 * MIB


# VmHWM, for getrusage's peak begins with that of the process that started this one.
_MEASURE = """
import re, sys, time
from pathlib import Path
from export_pipeline.store import open_store
from export_pipeline_tests.store.putting import begin
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024
store = open_store(sys.argv[1], endpoint_url=sys.argv[2])
store.client.meta.events.register("before-send.s3.UploadPart", lambda **_: time.sleep(0.15))
with begin(store, "exports/s/0.csv", Path(sys.argv[3])) as upload:
    upload.write(b"x")
    upload.publish()
before = peak()
for number in range(int(sys.argv[4])):
    upload = begin(store, f"exports/s/{number}.csv", Path(sys.argv[3]))
    for _ in range(60):
        upload.write(bytes(1 << 20))
    upload.finish()
print(peak() - before)
upload.abort()
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_what_waits_for_a_slow_server(bucket: Bucket, tmp_path: Path) -> None:
    grown = {}
    for files in (1, 5):
        command = [sys.executable, "-c", _MEASURE, bucket.url, bucket.server.endpoint_url, str(tmp_path)]
        done = subprocess.run(
            [*command, str(files)],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | bucket.server.environment(),
        )
        grown[files * 60] = int(done.stdout)
    print(f"MB of memory by MB that wait: {grown}")
    assert grown[300] < 64
    assert grown[300] - grown[60] < 16
