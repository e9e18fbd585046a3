"""Requests and files of a deleted scope end; those of a scope that only seems to be deleted do not."""

from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from export_pipeline.jobs import EventKind, Job, Ledger, RefusedError, Status
from export_pipeline.jobs.deleted_scopes import DeletedScopes, datasets_with_scopes, end_deleted_scopes
from export_pipeline.jobs.errors import SCOPE_DELETED
from export_pipeline.jobs.file_findings import FindingKind
from export_pipeline.jobs.known_files import KnownFiles
from export_pipeline.jobs.purge import purge
from export_pipeline.store.folder import FolderStore
from export_pipeline_tests.jobs.lives import FILE, job_in, run_of
from export_pipeline_tests.jobs.test_purge import LATER, age, complete, put

MANY = [f"scope {number}" for number in range(30)]


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


def end(engine: sa.Engine, *there: str, **options: bool) -> DeletedScopes:
    return end_deleted_scopes(engine, "takeoff", there, "test", **options)


def snapshot(ledger: Ledger, *jobs: Job) -> list[Job]:
    return [ledger.get(job.id) for job in jobs]


def test_requests_links_and_files_of_a_deleted_scope_end(
    ledger: Ledger, engine: sa.Engine, store: FolderStore, tmp_path: Path
) -> None:
    pending, working = (job_in(ledger, status) for status in (Status.PENDING, Status.PROCESSING))
    done, held = (complete(ledger, store, tmp_path, LATER) for _ in range(2))
    ledger.hold(held.id, True)
    failed, canceled = (job_in(ledger, status) for status in (Status.FAILED, Status.CANCELED))
    others = [complete(ledger, store, tmp_path, LATER, "b"), job_in(ledger, Status.PENDING, "b")]
    untouched = snapshot(ledger, failed, canceled, *others)
    loose = "exports/a/takeoff/daily/2026-01-01.csv"
    put(store, tmp_path, loose, LATER, deployment=ledger.deployment())
    age(store, loose, 1)
    before = snapshot(ledger, pending, working, done, held)

    assert datasets_with_scopes(engine) == ["takeoff"]
    expected = DeletedScopes("takeoff", frozenset("a"), canceled=2, due=1)
    assert end(engine, "b", dry_run=True) == expected
    assert snapshot(ledger, pending, working, done, held) == before
    assert end(engine, "b") == expected
    assert end(engine, "b") == DeletedScopes("takeoff", frozenset("a"))

    for job in snapshot(ledger, pending, working):
        assert (job.status, job.error_code) == (Status.CANCELED, SCOPE_DELETED)
        last = ledger.events(job.id)[-1]
        assert (last.kind, last.who, last.details["reason"]) == (EventKind.CANCELED, "test", SCOPE_DELETED)
    with pytest.raises(RefusedError):
        ledger.completed(run_of(working), FILE)
    with KnownFiles(engine.url.render_as_string(hide_password=False)) as known:
        assert known.is_of_deleted_scope(str(done.file_key))
        assert not known.is_of_deleted_scope(str(others[0].file_key))

    findings = []
    purge(ledger, store, retention=timedelta(7), deleted_scopes={("takeoff", "a")}, report=findings.append)
    assert {(f.kind, f.key) for f in findings} == {
        (FindingKind.EXPIRED, done.file_key),
        (FindingKind.OUTDATED, loose),
    }
    last = ledger.events(done.id)[-1]
    assert (last.kind, last.details["reason"]) == (EventKind.PURGED, SCOPE_DELETED)
    assert ledger.get(held.id).status is Status.COMPLETED
    assert store.exists(str(held.file_key))
    assert snapshot(ledger, failed, canceled, *others) == untouched


@pytest.mark.slow
@pytest.mark.parametrize("there", [[], MANY[:1], MANY[:5], MANY[:27]])
def test_an_empty_list_or_one_that_lacks_many_ends_nothing(
    ledger: Ledger, engine: sa.Engine, there: list[str]
) -> None:
    jobs = [job_in(ledger, Status.PENDING, scope) for scope in MANY]
    ended = end(engine, *there)
    assert ended == DeletedScopes("takeoff", doubtful=frozenset(MANY) - frozenset(there))
    assert {job.status for job in snapshot(ledger, *jobs)} == {Status.PENDING}
    assert end(engine, *there, confirmed=True).canceled == len(MANY) - len(there)


def test_an_empty_list_ends_not_even_the_only_scope(ledger: Ledger, engine: sa.Engine) -> None:
    job = job_in(ledger, Status.PENDING)
    assert end(engine).doubtful == {"a"}
    assert ledger.get(job.id).status is Status.PENDING


def test_another_dataset_and_requests_without_a_scope_are_not_meant(
    ledger: Ledger, engine: sa.Engine
) -> None:
    jobs = [ledger.request("records", "csv", scope="a"), ledger.request("takeoff", "csv")]
    assert end(engine, "b") == DeletedScopes("takeoff")
    assert {job.status for job in snapshot(ledger, *jobs)} == {Status.PENDING}
