import os
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from export_pipeline.jobs import EventKind, File, Job, Ledger, Status
from export_pipeline.jobs import purge as purging
from export_pipeline.jobs.file_findings import FileFinding, FindingKind
from export_pipeline.jobs.purge import Purged, purge
from export_pipeline.store import (
    Store,
    StoredFile,
    StoreError,
    StoreUnavailableError,
    manifest_key,
    open_store,
)
from export_pipeline.store.folder import FolderStore
from export_pipeline.store.manifest import Manifest, read_manifest
from export_pipeline.store.publish import publish, verify_file
from export_pipeline_tests.jobs.database import Database
from export_pipeline_tests.jobs.lives import job_in, run_of
from export_pipeline_tests.services.fixtures import Bucket
from export_pipeline_tests.store.putting import begin

NOW = datetime.now(UTC)
DUE, LATER = NOW - timedelta(minutes=1), NOW + timedelta(days=1)
WEEK = timedelta(days=7)


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


@pytest.fixture
def deployment(ledger: Ledger) -> str:
    return ledger.deployment()


def put(
    store: Store,
    folder: Path,
    key: str,
    expires_at: datetime | None,
    text: str = "a,b\r\n",
    deployment: str | None = None,
) -> StoredFile:
    """Publish a file as runs do."""
    _, scope, *window, name = key.split("/")

    def manifest(stored: StoredFile) -> Manifest:
        return Manifest(
            name="takeoff-csv",
            path=name,
            bytes=stored.bytes,
            hash=f"sha256:{stored.sha256}",
            format="csv",
            mediatype="text/csv",
            rows=1,
            dataset="takeoff",
            scope=scope,
            cadence=window[1] if window else "on_demand",
            window=name.partition(".")[0] if window else None,
            snapshot_at=NOW,
            expires_at=expires_at,
            deployment=deployment,
        )

    with begin(store, key, folder) as upload:
        upload.write(text.encode())
        return publish(store, upload, manifest)[0]


def complete(
    ledger: Ledger, store: Store, folder: Path, expires_at: datetime | None, scope: str = "a"
) -> Job:
    """A job with its file, published."""
    job = job_in(ledger, Status.PROCESSING, scope)
    key = f"exports/{scope}/{job.id}.csv"
    stored = put(store, folder, key, expires_at, deployment=ledger.deployment())
    return ledger.completed(run_of(job), File(key, "file.csv", stored.bytes, 1, stored.sha256), expires_at)


def age(store: FolderStore, key: str, days: float) -> None:
    """Put back when a file was last written."""
    then = (NOW - timedelta(days=days)).timestamp()
    os.utime(store.path(key), (then, then))


def run(ledger: Ledger, store: Store, **options: object) -> tuple[Purged, list[FileFinding]]:
    findings: list[FileFinding] = []
    return purge(ledger, store, retention=WEEK, report=findings.append, **options), findings  # type: ignore[arg-type]


def keys(store: Store) -> set[str]:
    return {file.key for file in store.list()}


def test_the_file_of_a_failed_job_under_legal_hold_stays(
    ledger: Ledger, store: FolderStore, tmp_path: Path, deployment: str
) -> None:
    """Its run published the file, and the ledger was down when it was to be recorded."""
    failed, held = (job_in(ledger, Status.FAILED) for _ in range(2))
    ledger.hold(held.id, True)
    for job in (failed, held):
        put(store, tmp_path, f"exports/a/{job.id}.csv", DUE, deployment=deployment)
        age(store, f"exports/a/{job.id}.csv", days=2)
    _, findings = run(ledger, store)
    assert [(finding.kind, finding.key) for finding in findings] == [
        (FindingKind.OUTDATED, f"exports/a/{failed.id}.csv")
    ]
    assert store.exists(f"exports/a/{held.id}.csv")


@pytest.mark.slow
def test_a_purge_removes_expired_files_and_nothing_else(
    ledger: Ledger, store: FolderStore, tmp_path: Path, deployment: str
) -> None:
    due, later, never = (complete(ledger, store, tmp_path, at) for at in (DUE, LATER, None))
    held = complete(ledger, store, tmp_path, DUE)
    ledger.hold(held.id, True)
    window = "exports/a/takeoff/daily/2026-01-01.csv"
    old_window = "exports/a/takeoff/daily/2025-01-01.csv"
    put(store, tmp_path, window, LATER, deployment=deployment)
    put(store, tmp_path, old_window, DUE, deployment=deployment)
    for file in store.list():
        age(store, file.key, days=2)
    before = keys(store)

    dry, would = run(ledger, store, dry_run=True)
    assert keys(store) == before
    assert ledger.get(due.id) == due
    assert {finding.key for finding in would} == {due.file_key, old_window}

    purged, findings = run(ledger, store, who="ann")
    assert [(finding.kind, finding.key) for finding in findings] == [
        (FindingKind.EXPIRED, due.file_key),
        (FindingKind.OUTDATED, old_window),
    ]
    assert (purged.counts, purged.bytes, purged.ended) == (dry.counts, dry.bytes, dry.ended)
    assert purged.bytes == 2 * len("a,b\r\n")
    gone = {due.file_key, old_window}
    assert keys(store) == before - gone - {manifest_key(str(key)) for key in gone}
    assert ledger.get(due.id).status is Status.EXPIRED
    last = ledger.events(due.id)[-1]
    assert (last.kind, last.who, last.details["file_key"]) == (EventKind.PURGED, "ann", due.file_key)
    for job in (later, never, held):
        assert ledger.get(job.id).status is Status.COMPLETED
        assert verify_file(store, str(job.file_key)) == []
    assert run(ledger, store)[0].removed == 0


@pytest.mark.slow
def test_a_purge_finds_what_does_not_fit_together(ledger: Ledger, store: FolderStore, tmp_path: Path) -> None:
    lost = complete(ledger, store, tmp_path, LATER)
    store.delete(str(lost.file_key))
    store.delete(manifest_key(str(lost.file_key)))
    deleted = complete(ledger, store, tmp_path, LATER)
    ledger.delete(deleted.id, lambda key: None)  # somebody else's code, that forgot the file
    half = complete(ledger, store, tmp_path, LATER)
    ledger.delete(half.id, lambda key: store.delete(manifest_key(key)))
    old_half = complete(ledger, store, tmp_path, LATER)
    ledger.delete(old_half.id, lambda key: store.delete(manifest_key(key)))
    damaged = complete(ledger, store, tmp_path, LATER)
    ledger.delete(damaged.id, lambda key: None)
    store.put_bytes(b"{", manifest_key(str(damaged.file_key)), media_type="application/json")
    fresh = complete(ledger, store, tmp_path, LATER)
    ledger.delete(fresh.id, lambda key: None)  # written a moment ago: its job may not have been told yet
    for job, days in ((deleted, 1), (half, 1), (old_half, 8), (damaged, 1)):
        age(store, str(job.file_key), days)

    purged, findings = run(ledger, store)
    assert {(finding.kind, finding.key) for finding in findings} == {
        (FindingKind.LOST, lost.file_key),
        (FindingKind.STRAY, deleted.file_key),
        (FindingKind.STRAY, half.file_key),
        (FindingKind.STRAY, damaged.file_key),
        (FindingKind.INCOMPLETE, old_half.file_key),
    }
    assert purged.counts[FindingKind.LOST] == 1
    assert not store.exists(str(old_half.file_key))
    assert store.exists(str(deleted.file_key))
    assert next(finding for finding in findings if finding.kind is FindingKind.LOST).job_id == lost.id


def test_a_file_that_another_job_needs_stays(ledger: Ledger, store: FolderStore, tmp_path: Path) -> None:
    first = complete(ledger, store, tmp_path, DUE)
    second = job_in(ledger, Status.PROCESSING)
    file = File(str(first.file_key), "file.csv", 5, 1, str(first.sha256))
    ledger.completed(run_of(second), file, LATER)
    age(store, file.key, days=2)
    run(ledger, store)
    assert ledger.get(first.id).status is Status.EXPIRED
    assert store.exists(file.key)  # though its manifest says that it is due
    assert ledger.get(second.id).status is Status.COMPLETED


class Failing(FolderStore):
    """A store that refuses to delete some files."""

    refused: str = ""
    error: type[StoreError] = StoreError

    def delete(self, *keys: str, **options: Any) -> None:
        if self.refused and keys[0].startswith(self.refused):
            raise self.error(f"Cannot delete {keys[0]}.")
        super().delete(*keys, **options)


def test_a_window_that_was_made_again_since_stays(ledger: Ledger, store: FolderStore, tmp_path: Path) -> None:
    job = complete(ledger, store, tmp_path, DUE)
    key = str(job.file_key)
    put(store, tmp_path, key, LATER, "a,b\r\n1,2\r\n")
    assert run(ledger, store)[1] == [FileFinding(FindingKind.EXPIRED, key, job.id, job.file_size)]
    assert ledger.get(job.id).status is Status.EXPIRED
    assert verify_file(store, key) == []


def test_a_window_that_is_made_again_while_it_is_removed_stays(ledger: Ledger, tmp_path: Path) -> None:
    class Late(FolderStore):
        """A store that another run writes to right before each deletion."""

        def delete(self, *keys: str, **options: Any) -> None:
            put(
                FolderStore(self.root), tmp_path, keys[-1], LATER, "newer\r\n", deployment=ledger.deployment()
            )
            super().delete(*keys, **options)

    store = Late(tmp_path / "store")
    due = complete(ledger, store, tmp_path, DUE)
    without_job = "exports/a/takeoff/daily/2026-01-01.csv"
    put(store, tmp_path, without_job, DUE, deployment=ledger.deployment())
    age(store, without_job, 40)
    run(ledger, store)
    assert ledger.get(due.id).status is Status.EXPIRED
    for key in (str(due.file_key), without_job):
        assert verify_file(store, key) == []
        assert read_manifest(store, key).expires_at == LATER


@pytest.mark.slow
def test_a_file_that_cannot_be_removed_does_not_keep_the_rest(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purging, "PAGE", 2)
    store = Failing(tmp_path / "store")
    bad = [complete(ledger, store, tmp_path, DUE - timedelta(days=1), "bad") for _ in range(3)]
    good = [complete(ledger, store, tmp_path, DUE, "good") for _ in range(3)]
    store.refused = "exports/bad/"
    purged, findings = run(ledger, store)
    assert (purged.counts[FindingKind.FAILED], purged.counts[FindingKind.EXPIRED], purged.ended) == (
        3,
        3,
        True,
    )
    assert all(
        "Cannot delete" in str(finding.problem) for finding in findings if finding.kind is FindingKind.FAILED
    )
    assert {ledger.get(job.id).status for job in bad} == {Status.COMPLETED}
    assert {ledger.get(job.id).status for job in good} == {Status.EXPIRED}
    assert all(verify_file(store, str(job.file_key)) == [] for job in bad)

    store.error = StoreUnavailableError
    with pytest.raises(StoreUnavailableError):
        run(ledger, store)
    store.refused = ""
    assert run(ledger, store)[0].counts[FindingKind.EXPIRED] == 3


def test_a_purge_that_dies_is_finished_by_the_next(ledger: Ledger, tmp_path: Path) -> None:
    class Dies(FolderStore):
        def delete(self, *keys: str, **options: Any) -> None:
            super().delete(keys[0], **options)
            raise KeyboardInterrupt

    store = Dies(tmp_path / "store")
    due = complete(ledger, store, tmp_path, DUE)
    with pytest.raises(KeyboardInterrupt):  # the manifest is gone, the file is not
        run(ledger, store)
    assert ledger.get(due.id).status is Status.COMPLETED
    assert keys(store) == {due.file_key}
    assert run(ledger, FolderStore(tmp_path / "store"))[0].counts[FindingKind.EXPIRED] == 1
    assert keys(store) == set()


@pytest.mark.slow
def test_bounded_and_several_at_once(ledger: Ledger, store: FolderStore, tmp_path: Path) -> None:
    jobs = [complete(ledger, store, tmp_path, DUE) for _ in range(12)]
    purged, _ = run(ledger, store, limit=3)
    assert (purged.removed, purged.ended) == (3, False)
    dry, _ = run(ledger, store, limit=3, dry_run=True)
    assert (dry.removed, dry.ended) == (3, False)
    done: list[Purged] = []
    threads = [threading.Thread(target=lambda: done.append(run(ledger, store)[0])) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 3
    assert keys(store) == set()
    assert {ledger.get(job.id).status for job in jobs} == {Status.EXPIRED}
    assert all([e.kind for e in ledger.events(job.id)].count(EventKind.PURGED) == 1 for job in jobs)


def test_aborted_uploads_go(ledger: Ledger, store: FolderStore, tmp_path: Path) -> None:
    put(store, tmp_path, "exports/a/x.csv", LATER)
    dead = tmp_path / "store" / ".uploads" / f"{'0123456789ab' * 2}-{'dead' * 8}"
    dead.write_bytes(b"half")
    old = (NOW - timedelta(days=2)).timestamp()
    os.utime(dead, (old, old))
    assert run(ledger, store, dry_run=True)[0].uploads == 1
    assert dead.exists()
    assert run(ledger, store)[0].uploads == 1
    assert not dead.exists()


@pytest.mark.slow
def test_a_purge_removes_expired_files_from_s3(
    bucket: Bucket, sqlite_database: Database, tmp_path: Path
) -> None:
    server, client = bucket.server, bucket.server.client()
    store = open_store(bucket.url, endpoint_url=server.endpoint_url, clients=lambda _: client)
    with Ledger(sqlite_database.url) as ledger:
        due, kept = (complete(ledger, store, tmp_path, at) for at in (DUE, LATER))
        lost = complete(ledger, store, tmp_path, LATER)
        store.delete(str(lost.file_key))
        purged, findings = run(ledger, store)
        assert {(f.kind, f.key) for f in findings} == {
            (FindingKind.EXPIRED, due.file_key),
            (FindingKind.LOST, lost.file_key),
        }
        assert ledger.get(due.id).status is Status.EXPIRED
    assert keys(store) >= {kept.file_key, manifest_key(str(kept.file_key))}
    assert not store.exists(str(due.file_key))
    assert purged.ended


def test_old_events_go_but_those_of_open_kept_and_held_requests_stay(
    ledger: Ledger, store: FolderStore, database: Database
) -> None:
    gone = [job_in(ledger, status) for status in (Status.FAILED, Status.CANCELED, Status.EXPIRED)]
    held = ledger.hold(job_in(ledger, Status.FAILED).id, True)
    stay = [held, *(job_in(ledger, status) for status in (Status.PENDING, Status.PROCESSING))]
    recent = job_in(ledger, Status.FAILED)
    old = "now() - interval '400 days'" if database.is_postgres else "'2020-01-01T00:00:00.000000+00:00'"
    database.run(f"UPDATE export_events SET at = {old} WHERE job_id <> ?", recent.id)
    orphans = job_in(ledger, Status.FAILED).id
    database.run(f"UPDATE export_events SET at = {old} WHERE job_id = ?", orphans)
    database.run("DELETE FROM export_jobs WHERE id = ?", orphans)
    before = {job.id: ledger.events(job.id) for job in (*stay, recent)}
    count = sum(len(ledger.events(job_id)) for job_id in (orphans, *(job.id for job in gone)))

    year = timedelta(days=365)
    assert run(ledger, store, events_kept=year, dry_run=True)[0].events == count
    assert run(ledger, store, events_kept=year)[0].events == count
    assert {job.id: ledger.events(job.id) for job in (*stay, recent)} == before
    assert all(ledger.events(job_id) == [] for job_id in (orphans, *(job.id for job in gone)))
    assert run(ledger, store, events_kept=year)[0].events == 0


def test_purges_at_the_same_time_report_each_file_once(
    ledger: Ledger, store: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [complete(ledger, store, tmp_path, DUE) for _ in range(3)]
    expirable, reports = ledger.expirable, []

    def overtaken(limit: int) -> list[Job]:
        due = expirable(limit)
        monkeypatch.setattr(ledger, "expirable", expirable)
        reports.append(run(ledger, store)[0])
        return due

    monkeypatch.setattr(ledger, "expirable", overtaken)
    reports.append(run(ledger, store)[0])
    assert [report.removed for report in reports] == [len(jobs), 0]
    assert [report.bytes for report in reports] == [sum(job.file_size or 0 for job in jobs), 0]
