"""Files of other programs and of other deployments in the same store: a purge reports them and lets them be."""

import json
import os
import uuid
from datetime import timedelta
from pathlib import Path

import pytest

from export_pipeline.jobs import File, Ledger, Status, migrate, purge
from export_pipeline.jobs.database import open_engine
from export_pipeline.jobs.file_findings import FindingKind
from export_pipeline.schedules.cadence_requests import CadenceWindow, request_windows
from export_pipeline.store import Store, manifest_key, open_store, window_key
from export_pipeline.store.folder import FolderStore
from export_pipeline_tests.jobs.database import Database
from export_pipeline_tests.jobs.lives import job_in, run_of
from export_pipeline_tests.jobs.test_purge import DUE, LATER, age, complete, keys, put, run
from export_pipeline_tests.services.fixtures import Bucket

CSV = "text/csv"


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


def write(store: FolderStore, key: str, content: str = "somebody's") -> str:
    path = store.root / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return key


def age_all(store: FolderStore, days: float = 40) -> None:
    for file in store.list():
        age(store, file.key, days) if " " not in file.key else os.utime(store.root / file.key, (0, 0))


def test_files_that_others_put_there_stay(ledger: Ledger, store: FolderStore, tmp_path: Path) -> None:
    expired = complete(ledger, store, tmp_path, DUE)
    theirs = {
        write(store, "exports/notes.txt"),
        write(store, f"exports/{uuid.uuid4()}/{uuid.uuid4()}.xlsx"),
        write(store, "exports/meadow-survey_export-12.csv"),
        write(store, "exports/a/an odd name (1).csv"),
        write(store, "exports/a/takeoff/daily/2026-01-01.csv"),
        write(store, "exports/a/takeoff/daily/deeper/still/2026-01-01.csv"),
        write(store, "exports/a/x.manifest.json", json.dumps({"name": "x", "resources": []})),
        write(store, "exports/a/of a tool.manifest.json", "{"),
    }
    age_all(store)
    for dry_run in (True, False):
        purged, findings = run(ledger, store, dry_run=dry_run)
        assert {finding.key for finding in findings if finding.kind is FindingKind.FOREIGN} == theirs
        assert (purged.counts[FindingKind.EXPIRED], purged.removed) == (1, 1)
    assert keys(store) == theirs
    assert not store.exists(str(expired.file_key))


def test_a_copy_of_an_export_is_not_the_export(ledger: Ledger, store: FolderStore, tmp_path: Path) -> None:
    key = "exports/a/takeoff/daily/2026-01-01.csv"
    put(store, tmp_path, key, DUE, deployment=ledger.deployment())
    copies = ["exports/kept/takeoff/daily/2026-01-01.csv", "exports/a/takeoff/daily/renamed.csv"]
    for copy in copies:
        for name, content in (
            (copy, "a,b\r\n"),
            (manifest_key(copy), store.path(manifest_key(key)).read_text()),
        ):
            write(store, name, content)
    edited, resized = "exports/b/takeoff/daily/2026-01-02.csv", "exports/b/takeoff/daily/2026-01-03.csv"
    for other in (edited, resized):
        put(store, tmp_path, other, DUE, deployment=ledger.deployment())
    write(store, edited, "1,2\r\n")
    write(store, resized, "a,b\r\n1,2\r\n")
    age_all(store)
    for dry_run in (True, False):
        _, findings = run(ledger, store, dry_run=dry_run)
        assert {(f.kind, f.key) for f in findings} == {
            (FindingKind.OUTDATED, key),
            *((FindingKind.FOREIGN, other) for other in (*copies, edited, resized)),
        }
    assert not store.exists(key)
    assert all(store.exists(other) for other in (*copies, edited, resized))


@pytest.mark.slow
def test_two_deployments_share_a_store(
    ledger: Ledger, store: FolderStore, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    url = f"sqlite:///{tmp_path_factory.mktemp('other')}/jobs.db"
    migrate(url)
    with Ledger(url) as other:
        assert other.deployment() != ledger.deployment()
        held = complete(other, store, tmp_path, DUE)
        other.hold(held.id, True)
        window = "exports/a/takeoff/daily/2026-01-01.csv"
        put(store, tmp_path, window, DUE, deployment=other.deployment())
        half = job_in(other, Status.FAILED)
        half_key = write(store, f"exports/a/{half.id}.csv")
        # Both make a window of this name, and the other one's file is there now.
        mine = complete(ledger, store, tmp_path, DUE)
        put(store, tmp_path, str(mine.file_key), LATER, "theirs\r\n", deployment=other.deployment())
        deleted = complete(ledger, store, tmp_path, DUE)
        put(store, tmp_path, str(deleted.file_key), DUE, "theirs\r\n", deployment=other.deployment())
        age_all(store)
        before = keys(store)
        run(ledger, store)
        assert ledger.get(mine.id).status is Status.EXPIRED
        assert keys(store) == before
        ledger.delete(deleted.id, lambda key: purge.unpublish_own(ledger, store, key))
        assert keys(store) == before
        _, findings = run(other, store)
        assert {(f.kind, f.key) for f in findings if f.kind is not FindingKind.FOREIGN} == {
            (FindingKind.OUTDATED, window),
            (FindingKind.INCOMPLETE, half_key),
            (FindingKind.STRAY, mine.file_key),
            (FindingKind.OUTDATED, deleted.file_key),
        }
        assert store.exists(str(held.file_key))


def test_unfinished_files_of_requests_and_windows_are_removed(
    ledger: Ledger, store: FolderStore, tmp_path: Path, database: Database
) -> None:
    failed = job_in(ledger, Status.FAILED, "Ä/b")
    engine = open_engine(database.url)
    request_windows(
        engine, [CadenceWindow("occ", "daily", "2026-01-01", None)], ["csv"], recipients=[], owners=[]
    )
    engine.dispose()
    halves = {
        write(store, f"exports/%C3%84%2Fb/{failed.id}.csv"),
        write(store, window_key(None, "occ", "daily", "2026-01-01", "csv")),
    }
    theirs = {
        write(store, f"exports/b/{failed.id}.csv"),
        write(store, f"exports/%C3%84%2Fb/{failed.id.upper()}.csv"),
        write(store, window_key("a", "occ", "daily", "2026-01-01", "csv")),
        write(store, window_key(None, "occ", "daily", "2026-01-02", "csv")),
    }
    orphan = "exports/a/takeoff/daily/2026-01-01.csv"
    put(store, tmp_path, orphan, DUE, deployment=ledger.deployment())
    store.path(orphan).unlink()
    age_all(store)
    _, findings = run(ledger, store)
    assert {(f.kind, f.key) for f in findings} == {
        *((FindingKind.INCOMPLETE, key) for key in halves),
        *((FindingKind.FOREIGN, key) for key in theirs),
        (FindingKind.OUTDATED, manifest_key(orphan)),
    }
    assert keys(store) == theirs


def test_a_job_whose_key_is_none_does_not_stop_the_rest(
    ledger: Ledger, store: FolderStore, tmp_path: Path
) -> None:
    bad = job_in(ledger, Status.PROCESSING)
    ledger.completed(run_of(bad), File("../../etc/passwd", "x.csv", 1, 1, "ab" * 32), DUE)
    good = complete(ledger, store, tmp_path, DUE)
    purged, _ = run(ledger, store)
    assert (purged.counts[FindingKind.FAILED], purged.counts[FindingKind.EXPIRED]) == (1, 1)
    assert ledger.get(good.id).status is Status.EXPIRED


def test_the_area_of_unfinished_files_may_hold_others(
    ledger: Ledger, store: FolderStore, tmp_path: Path
) -> None:
    put(store, tmp_path, "exports/a/x.csv", LATER)
    area = store.root / ".uploads"
    (area / "folder").mkdir()
    (area / "notes.txt").write_text("somebody's")
    dead = area / f"{'0123456789ab' * 2}-{'dead' * 8}"
    dead.write_text("half")
    for path in area.iterdir():
        os.utime(path, (0, 0))
    assert run(ledger, store)[0].uploads == 1
    assert {path.name for path in area.iterdir()} == {"folder", "notes.txt"}


def test_uploads_of_others_in_a_bucket_are_not_aborted(
    bucket: Bucket, sqlite_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purge, "UNFINISHED_AFTER", timedelta(0))
    server, client = bucket.server, bucket.server.client()
    store: Store = open_store(bucket.url, endpoint_url=server.endpoint_url, clients=lambda _: client)
    prefix = bucket.url.removeprefix("s3://").partition("/")[2]
    prefix = f"{prefix}/" if prefix else ""

    def begin(key: str) -> str:
        client.create_multipart_upload(Bucket=bucket.name, Key=prefix + key)
        return prefix + key

    with Ledger(sqlite_database.url) as ledger:
        died = job_in(ledger, Status.PROCESSING)
        again = "exports/a/takeoff/daily/2026-01-01.csv"
        put(store, tmp_path, again, LATER, deployment=ledger.deployment())
        ours = {begin(f"exports/a/{died.id}.csv"), begin(again)}
        theirs = {
            begin("videos/holiday.mp4"),
            begin("exports/an odd name.csv"),
            begin(f"exports/a/{uuid.uuid4()}.csv"),
        }
        assert run(ledger, store, dry_run=True)[0].uploads == 2
        purged, findings = run(ledger, store)
    assert purged.uploads == len(ours)
    assert {prefix + f.key for f in findings if f.kind is FindingKind.FOREIGN} == theirs
    left = client.list_multipart_uploads(Bucket=bucket.name).get("Uploads", ())
    assert {upload["Key"] for upload in left} == theirs


def test_a_row_that_names_another_file_does_not_remove_it(
    database: Database, ledger: Ledger, store: FolderStore, tmp_path: Path
) -> None:
    made = complete(ledger, store, tmp_path, DUE)
    copied = "exports/a/copied.csv"
    theirs = {
        write(store, "exports/notes.txt"),
        write(store, f"exports/a/{uuid.uuid4()}.csv"),
        write(store, f"exports/b/{made.id}.csv"),
        write(store, "exports/a/takeoff/daily/2026-01-01.csv"),
        write(store, copied),
        write(store, manifest_key(copied), store.path(manifest_key(str(made.file_key))).read_text()),
    }
    for key in sorted(theirs):
        job = job_in(ledger, Status.PROCESSING)
        database.run(
            "UPDATE export_jobs SET status = 'completed', file_key = ?, sha256 = 'x', expires_at = ? WHERE id = ?",
            key, DUE.isoformat(timespec="microseconds"), job.id,
        )  # fmt: skip
    age_all(store)
    _, findings = run(ledger, store)
    assert keys(store) == theirs
    assert {f.key for f in findings if f.kind is FindingKind.FOREIGN} == theirs - {manifest_key(copied)}
    for job in ledger.find(status=Status.EXPIRED):
        ledger.delete(job.id, lambda key: purge.unpublish_own(ledger, store, key))
    assert keys(store) == theirs


def test_files_prove_by_their_name_that_a_job_made_them(
    ledger: Ledger, store: FolderStore, tmp_path: Path
) -> None:
    """Their manifests are gone."""
    unrequested = "exports/a/takeoff/daily/2026-01-01.csv"
    file = File(write(store, unrequested), "a.csv", 1, 1, "x")
    ledger.record_export(
        "run", file, DUE, dataset="takeoff", format="csv", scope="a", filters={}, columns=None, options={},
        requested_by=None, started_at=DUE, who="launchpad",
    )  # fmt: skip
    made = complete(ledger, store, tmp_path, DUE)
    store.delete(manifest_key(str(made.file_key)))
    age_all(store)
    purged, _ = run(ledger, store)
    assert purged.counts[FindingKind.EXPIRED] == 2
    assert keys(store) == set()
