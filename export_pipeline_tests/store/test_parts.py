"""Exports in parts, in a folder and in S3: published as one, replaced as one, removed as one."""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from export_pipeline.store import Store, StoredFile, StoreError, manifest_key, open_store
from export_pipeline.store.keys import part_key, request_key, whole_key, window_key
from export_pipeline.store.manifest import Manifest
from export_pipeline.store.parts import PartedUpload, RenderedPart, hash_of_parts, zip_parts
from export_pipeline.store.publish import is_whole, publish, read_manifest, unpublish, verify_file
from export_pipeline_tests.services.fixtures import Bucket
from export_pipeline_tests.store.putting import put

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


def test_new_parts_replace_old_ones_and_a_single_file(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "single"
    file.write_bytes(b"single")
    put(store, file, KEY)
    single = Manifest(
        name="a", path=KEY.rpartition("/")[2], bytes=6, hash=f"sha256:{hashlib.sha256(b'single').hexdigest()}",
        format="csv", mediatype="text/csv", rows=1, dataset="takeoff", snapshot_at=datetime(2026, 1, 1, tzinfo=UTC),
    )  # fmt: skip
    store.put_bytes(single.to_json(), manifest_key(KEY), media_type="application/json")
    for contents in ([b"1", b"2", b"3"], [b"4"]):
        with begun(store, tmp_path, contents) as upload:
            publish_parts(store, upload)
        assert keys(store) == {*read_manifest(store, KEY).part_keys(KEY), manifest_key(KEY)}
        assert verify_file(store, KEY) == []


def test_old_parts_stay_whole_until_the_new_manifest_is_there(store: Store, tmp_path: Path) -> None:
    with begun(store, tmp_path, [b"1", b"2"]) as upload:
        publish_parts(store, upload)
    with pytest.raises(KeyboardInterrupt), begun(store, tmp_path, [b"3"]) as upload:
        upload.publish()
        assert verify_file(store, KEY) == []  # the old ones
        raise KeyboardInterrupt
    assert verify_file(store, KEY) == []


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
    for key in (
        whole,
        request_key("acme.csv.parts", "202601010000", "csv"),
        window_key("acme.csv.parts", "0123456789ab", "202601010000", "202601010000", "csv"),
        window_key("a", "b.csv.parts", "0123456789ab", "202601010000", "csv"),
    ):
        assert whole_key(key) == key
