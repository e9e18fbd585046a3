"""Exports in parts, in a folder and in S3: published as one, replaced as one, removed as one."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import re
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import Mock

import pytest

from export_pipeline.store import Store, StoredFile, StoreError, Upload, manifest_key, open_store
from export_pipeline.store.base import StagedFile
from export_pipeline.store.file_names import safe_file_name
from export_pipeline.store.folder import FolderStore
from export_pipeline.store.keys import attempt_name, part_key, request_key, whole_key, window_key
from export_pipeline.store.manifest import Manifest, read_manifest
from export_pipeline.store.parts import (
    PartedUpload,
    RenderedPart,
    download_parts,
    hash_of_parts,
    name_part,
    zip_parts,
)
from export_pipeline.store.publish import is_whole, publish, unpublish, verify_file
from export_pipeline.store.s3 import S3Store
from export_pipeline_tests.services.fixtures import Bucket
from export_pipeline_tests.store.putting import begin

KEY = "exports/s/takeoff/daily/2026-01-31.csv"
LARGE = os.urandom((9 << 20) + 1)  # sent in pieces before it is published


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    if request.param == "folder":
        return open_store(str(tmp_path / "store"))
    bucket: Bucket = request.getfixturevalue("bucket")
    for name, value in bucket.server.environment().items():
        monkeypatch.setenv(name, value)
    return open_store(bucket.url, endpoint_url=bucket.server.endpoint_url)


def begun(store: Store, folder: Path, contents: Sequence[bytes]) -> PartedUpload:
    """An upload of these parts, a row in each, all proven."""
    upload = PartedUpload(store, KEY, folder, media_type="text/csv", file_name="a.csv")
    for row in reversed(range(1, len(contents) + 1)):  # threads end in any order
        part = upload.begin(row)
        part.write(contents[row - 1])
        part.finish()
        upload.add(RenderedPart(part, row, 1))
    return upload


def publish_parts(store: Store, upload: PartedUpload, **options: object) -> StoredFile:
    return publish(store, upload, lambda stored: manifest_of(upload, stored), **options)[0]  # type: ignore[arg-type]


def manifest_of(upload: PartedUpload, stored: StoredFile) -> Manifest:
    return Manifest(
        name="takeoff-csv", path=KEY.rpartition("/")[2], bytes=stored.bytes, hash=f"sha256:{stored.sha256}",
        format="csv", mediatype="text/csv", rows=len(upload.parts), dataset="takeoff", parts=upload.parts,
        snapshot_at=datetime(2026, 1, 1, tzinfo=UTC),
    )  # fmt: skip


def keys(store: Store) -> set[str]:
    return {file.key for file in store.list()}


def test_nothing_is_visible_before_all_parts_are_there(store: Store, tmp_path: Path) -> None:
    seen = []
    with begun(store, tmp_path, [b"a", LARGE, b"c"]) as upload:
        assert keys(store) == set()
        stored = publish_parts(store, upload, before_visible=lambda: seen.append(keys(store)))
    manifest = read_manifest(store, KEY)
    assert (seen, is_whole(store, KEY), verify_file(store, KEY)) == ([set()], True, [])
    assert keys(store) == {*manifest.part_keys(KEY), manifest_key(KEY)}
    assert stored.bytes == manifest.bytes == len(LARGE) + 2
    assert [part.sha256 for part in manifest.parts] == [
        hashlib.sha256(c).hexdigest() for c in (b"a", LARGE, b"c")
    ]
    assert stored.sha256 == manifest.sha256 == hash_of_parts(manifest.parts)
    assert not list(tmp_path.glob("*.csv"))


def test_an_attempt_that_ends_early_leaves_nothing(store: Store, tmp_path: Path) -> None:
    def refused() -> None:
        raise StoreError("not requested any more")

    with pytest.raises(StoreError, match="not requested"), begun(store, tmp_path, [b"a", LARGE]) as upload:
        publish_parts(store, upload, before_visible=refused)
    assert keys(store) == set()
    assert not is_whole(store, KEY)
    assert not list(tmp_path.glob("*.csv"))


def publish_single(store: Store, folder: Path, content: bytes) -> None:
    with begin(store, KEY, folder) as upload:
        upload.write(content)
        publish(store, upload, manifest_of_single)


def manifest_of_single(stored: StoredFile) -> Manifest:
    return Manifest(
        name="a", path=KEY.rpartition("/")[2], bytes=stored.bytes, hash=f"sha256:{stored.sha256}", format="csv",
        mediatype="text/csv", rows=1, dataset="takeoff", snapshot_at=datetime(2026, 1, 1, tzinfo=UTC),
    )  # fmt: skip


def fail_manifests(store: Store, monkeypatch: pytest.MonkeyPatch, *, is_stored: bool) -> None:
    """Let the store answer with an error when a manifest is published, and store it nonetheless or not."""
    stage_bytes = store.stage_bytes

    @contextmanager
    def stage(data: bytes, key: str, *, media_type: str) -> Iterator[StagedFile]:
        with stage_bytes(data, key, media_type=media_type) as staged:
            publish_it = staged.publish

            def fail() -> StoredFile:
                if is_stored:
                    publish_it()
                raise StoreError("the disk is full")

            monkeypatch.setattr(staged, "publish", fail)
            yield staged

    monkeypatch.setattr(store, "stage_bytes", stage)


def test_new_parts_replace_old_ones_and_a_single_file(store: Store, tmp_path: Path) -> None:
    publish_single(store, tmp_path, b"single")
    for contents in ([b"1", b"2", b"3"], [b"4"]):
        with begun(store, tmp_path, contents) as upload:
            publish_parts(store, upload)
        assert keys(store) == {*read_manifest(store, KEY).part_keys(KEY), manifest_key(KEY)}
        assert verify_file(store, KEY) == []


def test_a_single_file_replaces_parts(store: Store, tmp_path: Path) -> None:
    with begun(store, tmp_path, [b"1", b"2"]) as upload:
        publish_parts(store, upload)
    publish_single(store, tmp_path, b"single")
    assert keys(store) == {KEY, manifest_key(KEY)}
    assert verify_file(store, KEY) == []


@pytest.mark.parametrize("old", ["single", "parts"])
@pytest.mark.parametrize("newer", ["single", "parts"])
def test_an_attempt_that_is_replaced_at_once_still_removes_the_old_parts(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, newer: str
) -> None:
    """The newer attempt knows only the parts of the export that it has replaced."""

    def publish_one(kind: str) -> None:
        if kind == "single":
            publish_single(store, tmp_path, b"single")
            return
        with begun(store, tmp_path, [b"1", b"2"]) as upload:
            publish_parts(store, upload)

    publish_one(old)
    delete = store.delete

    def overtaken(*names: str, **options: object) -> None:
        monkeypatch.setattr(store, "delete", delete)
        publish_one(newer)
        delete(*names, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "delete", overtaken)
    publish_one("parts")
    files = read_manifest(store, KEY).part_keys(KEY) or [KEY]
    assert keys(store) == {manifest_key(KEY), *files}
    assert verify_file(store, KEY) == []


@pytest.mark.parametrize("old", [None, "single", "parts"])
def test_a_manifest_that_cannot_be_published_leaves_no_part(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str | None
) -> None:
    if old == "single":
        publish_single(store, tmp_path, b"single")
    if old == "parts":
        with begun(store, tmp_path, [b"1", b"2"]) as upload:
            publish_parts(store, upload)
    there = keys(store)
    fail_manifests(store, monkeypatch, is_stored=False)
    with pytest.raises(StoreError, match="full"), begun(store, tmp_path, [b"3", LARGE]) as upload:
        publish_parts(store, upload)
    assert keys(store) == there
    assert old is None or verify_file(store, KEY) == []


def test_parts_stay_if_their_manifest_is_stored_in_spite_of_an_error(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server may store it and be gone before it answers."""
    fail_manifests(store, monkeypatch, is_stored=True)
    with pytest.raises(StoreError, match="full"), begun(store, tmp_path, [b"1", b"2"]) as upload:
        publish_parts(store, upload)
    assert verify_file(store, KEY) == []


def test_old_parts_that_cannot_be_removed_do_not_fail_the_new_export(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with begun(store, tmp_path, [b"1", b"2"]) as upload:
        publish_parts(store, upload)
    old = set(read_manifest(store, KEY).part_keys(KEY))
    delete = store.delete

    def refuse(*names: str, **options: object) -> None:
        if old.intersection(names):
            raise StoreError("access denied")
        delete(*names, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(store, "delete", refuse)
        with begun(store, tmp_path, [b"3"]) as upload:
            publish_parts(store, upload)
        publish_single(store, tmp_path, b"single")
    assert "access denied" in caplog.text
    assert verify_file(store, KEY) == []
    assert keys(store) == {KEY, manifest_key(KEY), *old}
    unpublish(store, KEY)  # also what no manifest lists any more
    assert keys(store) == set()


def test_the_manifest_tells_an_export_in_parts_from_a_file_that_is_left_over(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A single file that lost its manifest is not the export, and goes with the next one."""
    with begun(store, tmp_path, [b"1", b"2"]) as upload:
        publish_parts(store, upload)
    with monkeypatch.context() as patch:
        fail_manifests(store, patch, is_stored=False)
        with pytest.raises(StoreError, match="full"):
            publish_single(store, tmp_path, b"single")
    assert KEY in keys(store)
    assert verify_file(store, KEY) == []
    store.delete(read_manifest(store, KEY).part_keys(KEY)[0])
    assert not is_whole(store, KEY)
    with begun(store, tmp_path, [b"3"]) as upload:
        publish_parts(store, upload)
    assert keys(store) == {*read_manifest(store, KEY).part_keys(KEY), manifest_key(KEY)}


def test_an_older_attempt_at_a_single_file_cannot_appear_after_the_parts(
    store: Store, tmp_path: Path
) -> None:
    older: Upload
    with begin(store, KEY, tmp_path) as older:
        older.write(LARGE)
        older.stage()
        with begun(store, tmp_path, [b"1"]) as upload:
            publish_parts(store, upload)
        with pytest.raises(StoreError):
            older.publish()
    assert keys(store) == {*read_manifest(store, KEY).part_keys(KEY), manifest_key(KEY)}


def test_an_older_attempt_at_parts_cannot_appear_after_a_single_file(store: Store, tmp_path: Path) -> None:
    def overtaken() -> None:
        publish_single(store, tmp_path, b"single")

    with pytest.raises(StoreError), begun(store, tmp_path, [b"1", LARGE]) as upload:
        publish_parts(store, upload, before_visible=overtaken)
    assert keys(store) == {KEY, manifest_key(KEY)}
    assert verify_file(store, KEY) == []


@pytest.mark.parametrize(
    "name", ["x" * 300 + ".csv", "報告書" * 25 + ".csv", "a" * 172 + ".csv", "🏗️" * 60, "é" * 88 + ".jsonl"]
)
def test_every_part_has_its_own_name_at_any_length(store: Store, tmp_path: Path, name: str) -> None:
    numbers = [*range(1, 200), *range(9_990, 10_001), 123_456]
    names = [name_part(name, number) for number in numbers]
    assert len(set(names)) == len(numbers)
    assert all(len(one.encode()) <= 180 and safe_file_name(one) == one for one in names)
    with begun(store, tmp_path, [b"1", b"2", b"3"]) as upload:
        publish_parts(store, upload)
    manifest = read_manifest(store, KEY)
    paths = download_parts(store, KEY, manifest, tmp_path, name)
    assert [path.read_bytes() for path in paths] == [b"1", b"2", b"3"]
    with zipfile.ZipFile(io.BytesIO(b"".join(zip_parts(store, KEY, manifest, name)))) as archive:
        assert [archive.read(path.name) for path in paths] == [b"1", b"2", b"3"]


def test_old_parts_stay_whole_until_the_new_manifest_is_there(store: Store, tmp_path: Path) -> None:
    with begun(store, tmp_path, [b"1", b"2"]) as upload:
        publish_parts(store, upload)
    with pytest.raises(KeyboardInterrupt), begun(store, tmp_path, [b"3"]) as upload:
        upload.publish()
        assert verify_file(store, KEY) == []  # the old ones
        raise KeyboardInterrupt
    assert verify_file(store, KEY) == []
    assert keys(store) == {*read_manifest(store, KEY).part_keys(KEY), manifest_key(KEY)}


def test_a_missing_or_changed_part_is_found(store: Store, tmp_path: Path) -> None:
    with begun(store, tmp_path, [b"1", b"2", b"3"]) as upload:
        publish_parts(store, upload)
    first, second, _ = read_manifest(store, KEY).part_keys(KEY)
    store.put_bytes(b"9", first, media_type="text/csv")
    store.delete(second)
    problems = verify_file(store, KEY)
    assert len(problems) == 2
    assert "SHA-256" in problems[0]
    assert problems[1] == f"{second} is missing."
    assert not is_whole(store, KEY)
    unpublish(store, KEY)
    assert keys(store) == set()


def test_a_part_in_s3_is_removed_by_one_request(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There may be thousands, and the ledger waits for them."""
    for name, value in bucket.server.environment().items():
        monkeypatch.setenv(name, value)
    store = S3Store(bucket.name, "team", endpoint_url=bucket.server.endpoint_url)
    with begun(store, tmp_path, [b"1"] * 20) as upload:
        publish_parts(store, upload)
    requests: Counter[str] = Counter()
    store.client.meta.events.register("before-call.s3", lambda model, **_: requests.update([model.name]))
    unpublish(store, KEY)
    assert keys(store) == set()
    assert requests["DeleteObject"] == 20 + 2
    assert requests["CreateMultipartUpload"] == 2  # of the manifest, and of a file under the key


def test_the_error_of_many_parts_names_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(str(tmp_path / "store"))
    with begun(store, tmp_path, [b"1"] * 20) as upload:
        publish_parts(store, upload)
    monkeypatch.setattr(FolderStore, "_remove", Mock(side_effect=PermissionError(errno.EACCES, "denied")))
    with pytest.raises(
        StoreError, match=rf"Cannot delete {re.escape(manifest_key(KEY))} and .* and 19 more from"
    ):
        unpublish(store, KEY)


def test_a_zip_has_the_manifest_of_its_parts_though_a_newer_one_has_come(
    store: Store, tmp_path: Path
) -> None:
    with begun(store, tmp_path, [b"1", LARGE]) as upload:
        publish_parts(store, upload)
    manifest = read_manifest(store, KEY)
    pieces = zip_parts(store, KEY, manifest, "a.csv")
    content = next(pieces) + next(pieces)  # the second part is open now
    newer = manifest.model_copy(update={"rows": 9})
    store.put_bytes(newer.to_json(), manifest_key(KEY), media_type="application/json")
    with zipfile.ZipFile(io.BytesIO(content + b"".join(pieces))) as archive:
        assert archive.read("a.csv.manifest.json") == manifest.to_json()


def test_a_zip_holds_all_parts_and_the_manifest(store: Store, tmp_path: Path) -> None:
    with begun(store, tmp_path, [b"1", LARGE]) as upload:
        publish_parts(store, upload)
    manifest = read_manifest(store, KEY)
    content = b"".join(zip_parts(store, KEY, manifest, "Kita Süd.csv"))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == {
            "Kita Süd-0001.csv": b"1",
            "Kita Süd-0002.csv": LARGE,
            "Kita Süd.csv.manifest.json": manifest.to_json(),
        }


def test_a_part_s_key_tells_its_export_and_no_other_key_looks_like_one() -> None:
    whole = window_key("a", "takeoff", "daily", "2026-01-31", "csv")
    assert whole_key(part_key(whole, "0123456789ab", 7)) == whole
    assert whole_key(part_key(whole, attempt_name(whole, "deployment"), 7)) == whole
    for key in (
        whole,
        request_key("acme.csv.parts", "202601010000", "csv"),
        window_key("acme.csv.parts", "0123456789ab", "202601010000", "202601010000", "csv"),
        window_key("a", "b.csv.parts", "0123456789ab", "202601010000", "csv"),
    ):
        assert whole_key(key) == key
