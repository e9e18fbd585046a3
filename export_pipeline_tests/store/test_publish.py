import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from export_pipeline.store import (
    Store,
    StoredFile,
    StoreError,
    StoreUnavailableError,
    manifest_key,
    open_store,
)
from export_pipeline.store.manifest import Manifest, read_manifest
from export_pipeline.store.publish import is_of_another_run, publish, unpublish, verify_file
from export_pipeline_tests.services.fixtures import Bucket
from export_pipeline_tests.store.putting import begin

KEY = "exports/s/takeoff/daily/2026-01-31.csv"
LARGE = 16 * 2**20 + 7


def manifest_of(stored: StoredFile) -> Manifest:
    return Manifest(
        name="takeoff-csv",
        path=stored.key.rpartition("/")[2],
        bytes=stored.bytes,
        hash=f"sha256:{stored.sha256}",
        format="csv",
        mediatype="text/csv",
        rows=0,
        dataset="takeoff",
        snapshot_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


@pytest.fixture(params=["folder", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str | None, dict[str, str]]:
    """A store's URL, its endpoint, and the environment a process needs to use it."""
    if request.param == "folder":
        return str(tmp_path / "store"), None, {}
    bucket: Bucket = request.getfixturevalue("bucket")
    return bucket.url, bucket.server.endpoint_url, bucket.server.environment()


@pytest.fixture
def store(place: tuple[str, str | None, dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> Store:
    url, endpoint, environment = place
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return open_store(url, endpoint_url=endpoint)


@pytest.fixture
def local(tmp_path: Path) -> Callable[[bytes], Path]:
    def make(data: bytes) -> Path:
        path = tmp_path / f"local-{os.urandom(4).hex()}"
        path.write_bytes(data)
        return path

    return make


def put(store: Store, path: Path) -> None:
    """Write a local file into the store and publish it with its manifest."""
    with begin(store, KEY, path.parent) as upload:
        upload.write(path.read_bytes())
        publish(store, upload, manifest_of)


@pytest.mark.slow
def test_a_published_file_verifies(store: Store, local: Callable[[bytes], Path]) -> None:
    for data in (b"one", os.urandom(LARGE), b"three"):
        put(store, local(data))
        assert verify_file(store, KEY) == []
        assert read_manifest(store, KEY).bytes == len(data)
    assert sorted(file.key for file in store.list()) == [KEY, manifest_key(KEY)]
    unpublish(store, KEY)
    assert list(store.list()) == []
    assert len(verify_file(store, KEY)) == 2
    unpublish(store, KEY)


def test_verify_tells_what_is_wrong(store: Store, local: Callable[[bytes], Path]) -> None:
    put(store, local(b"one"))
    store.put_bytes(b"two", KEY, media_type="text/csv")
    assert [p.split(";")[0][:50] for p in verify_file(store, KEY)] == [f"{KEY} has the SHA-256 "[:50]]
    store.put_bytes(b"three", KEY, media_type="text/csv")
    assert verify_file(store, KEY)[0] == f"{KEY} has 5 bytes; its manifest says 3."
    store.put_bytes(b"{", manifest_key(KEY), media_type="application/json")
    assert "damaged" in verify_file(store, KEY)[0]
    store.delete(manifest_key(KEY))
    assert verify_file(store, KEY) == [f"{manifest_key(KEY)} is missing: the export is not complete."]
    put(store, local(b"one"))
    store.delete(KEY)
    assert verify_file(store, KEY) == [f"{KEY} is missing."]
    other = manifest_of(store.put_bytes(b"one", KEY, media_type="text/csv"))
    moved = other.model_copy(update={"path": "other.csv"})
    store.put_bytes(moved.to_json(), manifest_key(KEY), media_type="application/json")
    assert verify_file(store, KEY) == ["The manifest describes 'other.csv', not '2026-01-31.csv'."]


def test_a_reader_never_finds_a_manifest_that_fits_another_file(
    store: Store, local: Callable[[bytes], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looks before and after each step that shows something: file and manifest fit, or are seen not to."""
    seen = []

    def look() -> None:
        with store.open(KEY) as source:
            seen.append((source.read(100), read_manifest(store, KEY).bytes))

    def looking(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            look()
            result = original(*arguments, **keywords)
            look()
            return result

        return call

    put(store, local(b"old"))
    with begin(store, KEY, local(b"").parent) as upload:
        upload.write(b"newer")
        stage = store.stage_bytes

        def staged(*arguments: Any, **keywords: Any) -> Any:
            beside = looking(stage)(*arguments, **keywords)
            beside.publish = looking(beside.publish)
            return beside

        monkeypatch.setattr(store, "stage_bytes", staged)
        publish(store, upload, manifest_of, before_visible=look)
    assert list(dict.fromkeys(seen)) == [(b"old", 3), (b"newer", 3), (b"newer", 5)]


def test_a_replacement_that_fails_leaves_the_old_export(
    store: Store, local: Callable[[bytes], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, local(b"old"))

    def refuse(*_: object, **__: object) -> None:
        raise StoreError("no")

    with monkeypatch.context() as patch:
        if hasattr(store, "client"):
            patch.setattr(store.client, "complete_multipart_upload", refuse)
        else:
            patch.setattr(store, "_place", refuse)
        with pytest.raises(StoreError, match="no"):
            put(store, local(os.urandom(LARGE)))
    assert verify_file(store, KEY) == []
    assert read_manifest(store, KEY).bytes == 3
    assert store.clean(timedelta(0)) == 0


@pytest.mark.slow
def test_an_attempt_that_was_stopped_for_a_while_changes_nothing_of_a_newer_one(
    store: Store, local: Callable[[bytes], Path]
) -> None:
    """It had been told to go on before the newer one began."""
    for old in (b"old", os.urandom(LARGE)):
        put(store, local(b"first"))
        with begin(store, KEY, local(b"").parent) as upload:
            upload.write(old)
            with pytest.raises(StoreUnavailableError, match="ended by another one of the same key"):
                publish(store, upload, manifest_of, before_visible=lambda: put(store, local(b"newer")))
        assert verify_file(store, KEY) == []
        assert read_manifest(store, KEY).bytes == 5
        assert store.clean(timedelta(0)) == 0


def test_an_attempt_that_was_stopped_for_a_while_does_not_bring_a_removed_export_back(
    store: Store, local: Callable[[bytes], Path]
) -> None:
    """It had been told to go on before the export was removed."""
    for replaces in (True, False):
        if replaces:
            put(store, local(b"first"))
        with begin(store, KEY, local(b"").parent) as upload:
            upload.write(b"old")
            with pytest.raises(StoreUnavailableError, match="ended by another one of the same key"):
                publish(store, upload, manifest_of, before_visible=lambda: unpublish(store, KEY))
        assert list(store.list()) == []
        assert store.clean(timedelta(0)) == 0


def test_a_removal_that_was_stopped_for_a_while_keeps_a_newer_export(
    store: Store, local: Callable[[bytes], Path]
) -> None:
    put(store, local(b"the same"))

    def stop() -> bool:
        put(store, local(b"the same"))
        return True

    with contextlib.suppress(StoreUnavailableError):  # S3 says so
        store.delete(manifest_key(KEY), KEY, still=stop)
    assert verify_file(store, KEY) == []
    unpublish(store, KEY)
    assert list(store.list()) == []


def test_a_removal_that_keeps_an_export_ends_no_upload(store: Store, local: Callable[[bytes], Path]) -> None:
    put(store, local(b"theirs"))
    with begin(store, KEY, local(b"").parent) as upload:
        upload.write(os.urandom(LARGE))
        upload.stage()
        unpublish(store, KEY, unless=lambda manifest: True)
        upload.publish()
    assert store.stat(KEY).bytes == LARGE


def test_a_run_that_is_refused_late_removes_only_its_own_file(
    store: Store, local: Callable[[bytes], Path]
) -> None:
    with begin(store, KEY, local(b"").parent) as upload:
        upload.write(b"newer")
        publish(store, upload, lambda stored: manifest_of(stored).model_copy(update={"run_id": "newer"}))
    unpublish(store, KEY, unless=is_of_another_run("older"))
    assert verify_file(store, KEY) == []
    unpublish(store, KEY, unless=is_of_another_run("newer"))
    assert list(store.list()) == []


def test_verify_is_not_misled_by_a_replacement_under_its_eyes(
    store: Store, local: Callable[[bytes], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, local(b"old"))
    opened, original = [], store.open

    def replace_between(key: str) -> Any:
        opened.append(key)
        if len(opened) == 2:
            put(store, local(b"newer"))
        return original(key)

    monkeypatch.setattr(store, "open", replace_between)
    assert verify_file(store, KEY) == []
    assert len(opened) > 2


_CRASH = """
import os, signal, sys
from pathlib import Path
from export_pipeline.store import open_store
from export_pipeline.store.publish import publish
from export_pipeline_tests.store.putting import begin
from export_pipeline_tests.store.test_publish import manifest_of
url, endpoint, path, key, stage = sys.argv[1:]
die = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
store = open_store(url, endpoint_url=endpoint or None)
if stage == "manifest":
    original = store.stage_bytes
    def staged(*arguments, **keywords):
        beside = original(*arguments, **keywords)
        beside.publish = die
        return beside
    store.stage_bytes = staged
data = Path(path).read_bytes()
upload = begin(store, key, Path(path).parent)
upload.write(data[:10_000_000])
if stage == "middle":
    die()
upload.write(data[10_000_000:])
upload.finish()
if stage == "finished":
    die()
publish(store, upload, manifest_of, before_visible=die if stage == "visible" else None)
"""


def crash(place: tuple[str, str | None, dict[str, str]], path: Path, stage: str) -> None:
    """In a process that is killed: while it writes, before the file shows, or before its manifest."""
    url, endpoint, environment = place
    command = [sys.executable, "-c", _CRASH, url, endpoint or "", str(path), KEY, stage]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


def leftovers(place: tuple[str, str | None, dict[str, str]], store: Store) -> int:
    """Counted behind the store's back."""
    if place[1] is None:
        return len(list((Path(place[0]) / ".uploads").iterdir()))
    bucket = place[0].split("/")[2]
    return len(store.client.list_multipart_uploads(Bucket=bucket).get("Uploads", ()))  # type: ignore[attr-defined]


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "cure"), [("middle", "put"), ("finished", "clean"), ("visible", "clean")])
def test_a_killed_process_leaves_no_file(
    place: tuple[str, str | None, dict[str, str]],
    store: Store,
    local: Callable[[bytes], Path],
    stage: str,
    cure: str,
) -> None:
    path = local(os.urandom(LARGE))
    crash(place, path, stage)
    assert list(store.list()) == []
    staged = 2 if stage == "visible" else 1  # the manifest too
    assert leftovers(place, store) == staged
    if cure == "clean":
        assert store.clean(timedelta(hours=1)) == 0
        assert store.clean(timedelta(0)) == staged
        assert leftovers(place, store) == 0
    put(store, path)
    assert leftovers(place, store) == 0
    assert verify_file(store, KEY) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "there", "problems"), [("middle", 3, 0), ("visible", 3, 0), ("manifest", LARGE, 2)]
)
def test_a_killed_replacement_is_never_taken_for_complete(
    place: tuple[str, str | None, dict[str, str]],
    store: Store,
    local: Callable[[bytes], Path],
    stage: str,
    there: int,
    problems: int,
) -> None:
    put(store, local(b"old"))
    path = local(os.urandom(LARGE))
    crash(place, path, stage)
    assert store.stat(KEY).bytes == there
    assert len(verify_file(store, KEY)) == problems
    put(store, path)
    assert verify_file(store, KEY) == []
    assert leftovers(place, store) == 0
