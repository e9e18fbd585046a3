"""The promises of every store, held by a folder and by a real S3 server."""

import contextlib
import hashlib
import itertools
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from export_pipeline.store import NotFoundError, Store, StoreError, open_store, window_key
from export_pipeline_tests.services.fixtures import Bucket
from export_pipeline_tests.store.putting import begin, put

CSV = "text/csv; charset=utf-8"
KEY = window_key("ü/..\\\x00", "takeoff", "daily", "2026-01-31", "csv")
SMALL, LARGE = 1000, 16 * 2**20 + 7


class StoreContract:
    @pytest.fixture
    def local(self, tmp_path: Path) -> Callable[[int], Path]:
        def make(size: int) -> Path:
            path = tmp_path / f"local-{size}-{os.urandom(4).hex()}"
            path.write_bytes(os.urandom(size))
            return path

        return make

    @pytest.mark.parametrize("size", [0, 1, SMALL, 8 << 20, (8 << 20) + 1, LARGE])
    def test_a_stored_file_is_read_back_unchanged(
        self, store: Store, local: Callable[[int], Path], size: int
    ) -> None:
        path, seen = local(size), [0]
        begun = datetime.now(UTC)
        stored = put(store, path, KEY, media_type=CSV, file_name="a.csv", progress=seen.append)
        assert (stored.key, stored.bytes) == (KEY, size)
        assert stored.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert seen == sorted(seen)
        assert seen[-1] == size
        with store.open(KEY) as source:
            assert source.read(size + 1) == path.read_bytes()
        stat = store.stat(KEY)
        assert stat.bytes == size
        assert abs(stat.modified - begun) < timedelta(minutes=1)
        copy = path.with_name("copy")
        store.download(KEY, copy)
        assert copy.read_bytes() == path.read_bytes()

    @pytest.mark.slow
    def test_a_file_replaces_an_older_one(self, store: Store, local: Callable[[int], Path]) -> None:
        for size in (LARGE, SMALL, LARGE + 1, 0):
            put(store, local(size), KEY, media_type=CSV, file_name="a.csv")
            assert [file.bytes for file in store.list()] == [size]

    def test_the_old_file_is_seen_until_the_new_one_is_whole(
        self, store: Store, local: Callable[[int], Path]
    ) -> None:
        for size in (SMALL, LARGE):
            store.put_bytes(b"old", KEY, media_type=CSV)
            seen = []

            def look(seen: list[int] = seen) -> None:
                seen.append(store.stat(KEY).bytes)

            put(store, local(size), KEY, media_type=CSV, file_name="a.csv", before_visible=look)
            assert seen == [3]
            assert store.stat(KEY).bytes == size

    @pytest.mark.parametrize("size", [SMALL, LARGE])
    def test_a_failure_before_the_end_leaves_the_old_file(
        self, store: Store, local: Callable[[int], Path], size: int
    ) -> None:
        store.put_bytes(b"old", KEY, media_type=CSV)

        def fail() -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            put(store, local(size), KEY, media_type=CSV, file_name="a.csv", before_visible=fail)
        assert store.stat(KEY).bytes == 3
        assert store.clean(timedelta(0)) == 0

    @pytest.mark.parametrize("size", [SMALL, LARGE])
    @pytest.mark.parametrize("finished", [True, False])
    def test_an_aborted_upload_leaves_nothing(
        self, store: Store, tmp_path: Path, size: int, finished: bool
    ) -> None:
        with begin(store, KEY, tmp_path) as upload:
            for _ in range(0, size, 1000):
                upload.write(bytes(1000))
            assert not upload.closed
            if finished:
                upload.finish()
                assert upload.closed
        upload.abort()
        assert upload.closed
        assert list(store.list()) == []
        assert store.clean(timedelta(0)) == 0
        assert list(tmp_path.glob("upload-*")) == []
        with pytest.raises(ValueError, match="closed"):
            upload.write(bytes(LARGE))

    @pytest.mark.parametrize("size", [0, SMALL, LARGE])
    def test_a_file_can_be_read_back_before_it_is_seen(self, store: Store, tmp_path: Path, size: int) -> None:
        data = os.urandom(size)
        with begin(store, KEY, tmp_path) as upload:
            view = memoryview(data)
            sizes = itertools.cycle([1, 1000, 70_000, 3 << 20, 0])
            while view:
                written = upload.write(view[: next(sizes)])
                view = view[written:]
            stored = upload.finish()
            assert upload.path.read_bytes() == data
            assert (stored.bytes, stored.sha256) == (size, hashlib.sha256(data).hexdigest())
            assert list(store.list()) == []
            assert upload.publish() == stored
        with store.open(KEY) as source:
            assert source.read(size + 1) == data
        assert not upload.path.is_symlink()
        assert not upload.path.exists()

    @pytest.mark.slow
    def test_many_files_wait_to_be_published(self, store: Store, tmp_path: Path) -> None:
        """More than a process may open: a backfill in one run proves all of its files first."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        used = len(os.listdir("/proc/self/fd"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + 40, hard))
        try:
            with contextlib.ExitStack() as uploads:
                files = []
                for number in range(60):
                    upload = uploads.enter_context(begin(store, f"exports/s/{number:02}.csv", tmp_path))
                    upload.write(b"x" * number)
                    upload.finish()
                    files.append(upload)
                for upload in files:
                    upload.publish()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert [(file.key, file.bytes) for file in store.list()] == [
            (f"exports/s/{number:02}.csv", number) for number in range(60)
        ]

    def test_a_newer_upload_ends_an_older_one_of_the_same_key(self, store: Store, tmp_path: Path) -> None:
        data = os.urandom(LARGE)
        with begin(store, KEY, tmp_path) as older, begin(store, KEY, tmp_path) as first:
            first.write(b"first")
            first.publish()
            older.write(data)
            older.finish()
            time.sleep(0.2)  # a folder's file stays locked until it is on the disk
            with begin(store, KEY, tmp_path) as newer:
                newer.write(b"newer")
                newer.publish()
            with pytest.raises(StoreError, match="ended by another one of the same key"):
                older.publish()
        assert store.stat(KEY).bytes == 5
        assert store.clean(timedelta(0)) == 0

    def test_a_local_copy_that_cannot_be_made(self, store: Store, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            begin(store, KEY, tmp_path / "nowhere")
        assert store.clean(timedelta(0)) == 0

    def test_a_key_that_is_not_there(self, store: Store, tmp_path: Path) -> None:
        asked: list[Callable[[], object]] = [
            lambda: store.stat(KEY),
            lambda: store.open(KEY).__enter__(),
            lambda: store.signed_url(KEY, expires_seconds=60),
            lambda: store.download(KEY, tmp_path / "x"),
        ]
        for ask in asked:
            with pytest.raises(NotFoundError, match="2026-01-31"):
                ask()
        assert not store.exists(KEY)
        assert list(tmp_path.glob("*x*")) == []
        store.delete(KEY)

    def test_a_part_of_a_key_is_no_file(self, store: Store) -> None:
        store.put_bytes(b"x", "exports/a/b/c.csv", media_type=CSV)
        for key in ("exports/a/b", "exports/a/b/c.csv/d"):
            assert not store.exists(key)
            with pytest.raises(NotFoundError), store.open(key):
                pass
            store.delete("exports/a/b/c.csv/d")

    def test_a_deletion_removes_one_file(self, store: Store) -> None:
        for key in (KEY, "exports/all/1.csv"):
            store.put_bytes(b"x", key, media_type=CSV)
        store.delete(KEY)
        assert [file.key for file in store.list()] == ["exports/all/1.csv"]

    def test_files_are_listed_by_prefix(self, store: Store) -> None:
        keys = ["exports/a-b/1.csv", "exports/a/1.csv", "exports/a/b/1.csv", "exports/a.b/1.csv"]
        keys += ["exports/a/b.csv", "exports/a/b-c.csv", "exports/A/1.csv", "exports/%61ll/1.csv"]
        for key in keys:
            store.put_bytes(key.encode(), key, media_type=CSV)
        listed = list(store.list())
        assert sorted(file.key for file in listed) == sorted(keys)
        assert all(file.bytes == len(file.key) for file in listed)
        for prefix in ("exports/a", "exports/a/", "exports/a/b", "exports/a/b/", "e", "x", "exports/A/"):
            assert sorted(f.key for f in store.list(prefix)) == sorted(
                k for k in keys if k.startswith(prefix)
            )

    def test_invalid_keys_are_refused(self, store: Store, local: Callable[[int], Path]) -> None:
        for key in ("../x", "/etc/passwd", "a//b", "", ".uploads/x", "a/\x00"):
            with pytest.raises(ValueError, match="not a key"):
                put(store, local(1), key, media_type=CSV, file_name="x")
            for ask in (store.stat, store.delete, store.exists):
                with pytest.raises(ValueError, match="not a key"):
                    ask(key)

    def test_a_link_has_a_lifetime(self, store: Store) -> None:
        store.put_bytes(b"x", KEY, media_type=CSV)
        for seconds in (0, -1, 7 * 24 * 3600 + 1):
            with pytest.raises(ValueError, match="7 days"):
                store.signed_url(KEY, expires_seconds=seconds)

    def test_writers_of_different_keys_do_not_meet(self, store: Store, local: Callable[[int], Path]) -> None:
        path = local(9 << 20)
        keys = [f"exports/s/{number}.csv" for number in range(4)]
        failures: list[BaseException] = []

        def write(key: str) -> None:
            try:
                put(store, path, key, media_type=CSV, file_name="a.csv")
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=write, args=(key,)) for key in keys]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
        assert [file.key for file in store.list()] == keys

    def test_check_leaves_nothing(self, store: Store) -> None:
        store.check()
        assert list(store.list()) == []


class TestFolder(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return open_store((tmp_path / "the store").as_uri())


class TestFolderThatIgnoresCase(StoreContract):
    """As on macOS: simulated, for the file system here tells "A" from "a"."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        from export_pipeline.store.folder import FolderStore

        return FolderStore(tmp_path / "store", ignores_case=True)

    def test_capitals_are_escaped_on_the_disk(self, store: Store) -> None:
        assert store.put_bytes(b"x", "exports/A%2Fb/1.csv", media_type=CSV).location.endswith(
            "/%41%2Fb/1.csv"
        )
        assert [file.key for file in store.list("exports/A")] == ["exports/A%2Fb/1.csv"]


class TestS3(StoreContract):
    @pytest.fixture
    def store(self, bucket: Bucket) -> Store:
        return open_store(
            bucket.url, endpoint_url=bucket.server.endpoint_url, clients=lambda _: bucket.server.client()
        )


def test_importing_the_package_is_light() -> None:
    script = "import sys, export_pipeline.store as s; s.open_store('/tmp/x')\n"
    script += (
        "print([m for m in ('boto3', 'botocore', 'pyarrow', 'pydantic', 'dagster') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "is empty"),
        ("gs://bucket/x", "begins with 'gs'"),
        ("file://host/x", "names a host"),
        ("s3://", "names no bucket"),
        ("s3:///x", "names no bucket"),
        ("s3://bucket/a//b", "'..' part"),
        ("s3://bucket/../b", "'..' part"),
        ("s3://bucket/" + "x" * 101, "longer than 100 bytes"),
        ("s3://key:secret@bucket/x", "holds credentials"),
    ],
)
def test_a_wrong_url_is_reported_without_its_secret(url: str, says: str) -> None:
    with pytest.raises(StoreError, match=says) as caught:
        open_store(url)
    assert "secret" not in str(caught.value)


def test_a_store_is_opened_by_its_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert open_store("./exports").url == (tmp_path / "exports").as_uri()
    assert open_store("file:///a%20b/c").url == "file:///a%20b/c"
    assert open_store("s3://bucket/team/").url == "s3://bucket/team"
    assert open_store("s3://bucket").url == "s3://bucket"
    with pytest.raises(StoreError, match="Unknown encryption 'rot13'"):
        open_store("s3://bucket", encryption="rot13")
    with pytest.raises(StoreError, match="needs the encryption aws:kms"):
        open_store("s3://bucket", encryption="AES256", kms_key_id="x")
