"""Purge treats an export in parts as one file, and removes the parts that no manifest lists."""

from __future__ import annotations

import hashlib
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from export_pipeline.jobs import File, Job, Ledger, RefusedError, Status
from export_pipeline.jobs.file_findings import FindingKind
from export_pipeline.jobs.known_files import KnownFiles
from export_pipeline.jobs.purge import purge, unpublish_own
from export_pipeline.store import manifest_key
from export_pipeline.store.folder import FolderStore
from export_pipeline.store.manifest import Manifest, read_manifest
from export_pipeline.store.parts import PartedUpload, RenderedPart
from export_pipeline.store.publish import publish
from export_pipeline_tests.jobs.lives import job_in, run_of

NOW = datetime.now(UTC)


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


def parts_of(store: FolderStore, key: str, folder: Path, deployment: str | None = None) -> PartedUpload:
    names = {"media_type": "text/csv", "file_name": "a.csv"}
    upload = PartedUpload(store, key, folder, **names, deployment=deployment)
    for row in (1, 2):
        part = upload.begin(row)
        part.write(b"a\r\n")
        part.finish()
        upload.add(RenderedPart(part, row, 1))
    return upload


def complete(ledger: Ledger, store: FolderStore, folder: Path, expires_at: datetime) -> Job:
    """A completed job with an export in two parts."""
    job = job_in(ledger, Status.PROCESSING, "a")
    with parts_of(store, f"exports/a/{job.id}.csv", folder) as upload:
        stored, _ = publish(
            store,
            upload,
            lambda stored: Manifest(
                name="takeoff-csv", path=f"{job.id}.csv", bytes=stored.bytes, hash=f"sha256:{stored.sha256}",
                format="csv", mediatype="text/csv", rows=2, dataset="takeoff", scope="a", cadence="on_demand",
                snapshot_at=NOW, expires_at=expires_at, deployment=ledger.deployment(), parts=upload.parts,
            ),
        )  # fmt: skip
    return ledger.completed(
        run_of(job), File(stored.key, "a.csv", stored.bytes, 2, stored.sha256), expires_at
    )


def age(store: FolderStore, days: float) -> None:
    """Put back when all files were last written."""
    then = (NOW - timedelta(days=days)).timestamp()
    for file in store.list():
        os.utime(store.path(file.key), (then, then))


def findings(ledger: Ledger, store: FolderStore) -> list[tuple[FindingKind, str]]:
    seen: list[tuple[FindingKind, str]] = []
    purge(ledger, store, retention=timedelta(days=7), report=lambda one: seen.append((one.kind, one.key)))
    return seen


def test_parts_of_a_job_stay_until_it_expires_and_go_with_it(
    ledger: Ledger, store: FolderStore, tmp_path: Path
) -> None:
    kept = complete(ledger, store, tmp_path, NOW + timedelta(days=1))
    due = complete(ledger, store, tmp_path, NOW - timedelta(minutes=1))
    age(store, 30)
    assert findings(ledger, store) == [(FindingKind.EXPIRED, due.file_key)]
    assert len(list(store.list())) == 3
    assert {file.key.split("/")[2][:36] for file in store.list()} == {kept.id}
    ledger.delete(kept.id, lambda key: unpublish_own(ledger, store, key))
    assert list(store.list()) == []


def test_a_lost_part_is_reported_as_a_lost_file(ledger: Ledger, store: FolderStore, tmp_path: Path) -> None:
    job = complete(ledger, store, tmp_path, NOW + timedelta(days=1))
    store.delete(next(file.key for file in store.list() if ".parts/" in file.key))
    assert findings(ledger, store) == [(FindingKind.LOST, job.file_key)]


def test_parts_that_no_manifest_lists_are_removed_after_a_day(
    ledger: Ledger, store: FolderStore, tmp_path: Path
) -> None:
    """A run that is killed between its parts and its manifest leaves such parts."""
    job = complete(ledger, store, tmp_path, NOW + timedelta(days=1))
    listed = {file.key for file in store.list()}
    parts_of(store, str(job.file_key), tmp_path).publish()
    orphans = {file.key for file in store.list()} - listed
    age(store, 0.5)
    assert findings(ledger, store) == []
    age(store, 1.5)
    assert set(findings(ledger, store)) == {(FindingKind.INCOMPLETE, key) for key in orphans}
    assert {file.key for file in store.list()} == listed


def test_parts_of_a_first_run_without_a_job_are_removed_if_their_names_show_the_deployment(
    ledger: Ledger, store: FolderStore, tmp_path: Path
) -> None:
    """Such as one of the UI that is killed before its manifest; nothing but the names says whose they are."""
    foreign = set()
    for number, deployment in enumerate((ledger.deployment(), "another", None)):
        parts_of(store, f"exports/a/orders/daily/2026-01-0{number + 1}.csv", tmp_path, deployment).publish()
        if deployment != ledger.deployment():
            foreign |= {file.key for file in store.list()}
    own = {file.key for file in store.list() if "2026-01-01" in file.key}
    foreign -= own
    moved = next(iter(own)).replace("2026-01-01", "2026-01-04")  # a copy under another key proves nothing
    store.put_bytes(b"a\r\n", moved, media_type="text/csv")
    foreign.add(moved)
    age(store, 0.5)
    assert findings(ledger, store) == []
    age(store, 1.5)
    assert set(findings(ledger, store)) == {
        *((FindingKind.INCOMPLETE, key) for key in own),
        *((FindingKind.FOREIGN, key) for key in foreign),
    }
    assert {file.key for file in store.list()} == foreign


@pytest.mark.parametrize("manifest", [b"{ damaged", None])
@pytest.mark.parametrize("held", [False, True])
def test_parts_stay_with_their_job_when_the_manifest_is_lost(
    ledger: Ledger, store: FolderStore, tmp_path: Path, manifest: bytes | None, held: bool
) -> None:
    job = complete(ledger, store, tmp_path, NOW + timedelta(days=-1 if held else 1))
    ledger.hold(job.id, held)
    parts = {file.key for file in store.list() if ".parts/" in file.key}
    store.delete(manifest_key(str(job.file_key)))
    if manifest is not None:
        store.put_bytes(manifest, manifest_key(str(job.file_key)), media_type="application/json")
    age(store, 30)
    assert findings(ledger, store) == [(FindingKind.LOST, job.file_key)]
    assert parts <= {file.key for file in store.list()}
    ledger.hold(job.id, False)
    ledger.delete(job.id, lambda key: unpublish_own(ledger, store, key))
    assert list(store.list()) == []


def test_parts_stay_when_the_manifest_is_that_of_another_file(
    ledger: Ledger, store: FolderStore, tmp_path: Path
) -> None:
    job, other = (complete(ledger, store, tmp_path, NOW + timedelta(days=1)) for _ in range(2))
    content = read_manifest(store, str(other.file_key)).to_json()
    store.put_bytes(content, manifest_key(str(job.file_key)), media_type="application/json")
    age(store, 30)
    there = {file.key for file in store.list()}
    assert findings(ledger, store) == [(FindingKind.LOST, job.file_key)]
    assert {file.key for file in store.list()} == there


def test_old_parts_that_a_run_of_the_ui_left_behind_are_removed(
    ledger: Ledger, store: FolderStore, tmp_path: Path
) -> None:
    """No job names them, but the manifest of the new file beside them does."""
    key = "exports/a/takeoff/daily/2026-01-31.csv"
    old = parts_of(store, key, tmp_path)
    old.publish()
    content = Manifest(
        name="takeoff-csv", path="2026-01-31.csv", bytes=1, hash=f"sha256:{hashlib.sha256(b'a').hexdigest()}",
        format="csv", mediatype="text/csv", rows=0, dataset="takeoff", scope="a", cadence="daily",
        window="2026-01-31", snapshot_at=NOW, deployment=ledger.deployment(),
    )  # fmt: skip
    store.put_bytes(b"a", key, media_type="text/csv")
    store.put_bytes(content.to_json(), manifest_key(key), media_type="application/json")
    age(store, 1.5)
    assert {what for what, _ in findings(ledger, store)} == {FindingKind.INCOMPLETE}
    assert {file.key for file in store.list()} == {key, manifest_key(key)}


@pytest.mark.parametrize("is_file_left", [False, True])
def test_parts_without_a_job_go_when_their_manifest_says_so(
    ledger: Ledger, store: FolderStore, tmp_path: Path, is_file_left: bool
) -> None:
    """So does a file that an attempt left under their key."""
    key = "exports/a/takeoff/daily/2026-01-31.csv"

    def publish_until(expires_at: datetime) -> None:
        with parts_of(store, key, tmp_path) as upload:
            publish(
                store,
                upload,
                lambda stored: Manifest(
                    name="takeoff-csv", path="2026-01-31.csv", bytes=stored.bytes, hash=f"sha256:{stored.sha256}",
                    format="csv", mediatype="text/csv", rows=2, dataset="takeoff", scope="a", cadence="daily",
                    window="2026-01-31", snapshot_at=NOW, expires_at=expires_at, deployment=ledger.deployment(),
                    parts=upload.parts,
                ),
            )  # fmt: skip
        if is_file_left:
            store.put_bytes(b"old", key, media_type="text/csv")
        age(store, 30)

    publish_until(NOW + timedelta(days=1))
    assert findings(ledger, store) == []
    assert len(list(store.list())) == 3 + is_file_left
    publish_until(NOW - timedelta(minutes=1))
    assert findings(ledger, store) == [(FindingKind.OUTDATED, key if is_file_left else manifest_key(key))]
    assert list(store.list()) == []


def test_parts_under_legal_hold_stay(ledger: Ledger, store: FolderStore, tmp_path: Path) -> None:
    job = complete(ledger, store, tmp_path, NOW - timedelta(minutes=1))
    ledger.hold(job.id, True)
    there = {file.key for file in store.list()}
    age(store, 30)
    assert findings(ledger, store) == []
    with pytest.raises(RefusedError, match="legal hold"):
        ledger.delete(job.id, lambda key: unpublish_own(ledger, store, key))
    with (
        pytest.raises(RefusedError, match="legal hold"),
        KnownFiles.sharing(ledger).replacing(str(job.file_key)),
    ):
        pass
    assert {file.key for file in store.list()} == there
    ledger.hold(job.id, False)
    assert findings(ledger, store) == [(FindingKind.EXPIRED, job.file_key)]
    assert list(store.list()) == []


def test_parts_of_others_are_kept(ledger: Ledger, store: FolderStore, tmp_path: Path) -> None:
    parts_of(store, "exports/a/7e1c9a52-0d4b-4f43-9f6e-6a0d8f3f2b11.csv", tmp_path).publish()
    age(store, 30)
    assert {what for what, _ in findings(ledger, store)} == {FindingKind.FOREIGN}
    assert len(list(store.list())) == 2
