import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from export_pipeline.jobs import Attempt, EventKind, File, Ledger, RefusedError, Status, UnknownJobError
from export_pipeline_tests.jobs.database import Database
from export_pipeline_tests.jobs.lives import FILE, PAST, job_in, run_of


def test_only_what_is_due_expires(ledger: Ledger) -> None:
    due = job_in(ledger, Status.COMPLETED)
    later, never = job_in(ledger, Status.PROCESSING), job_in(ledger, Status.PROCESSING)
    ledger.completed(run_of(later), File("later", "f", 1, 1, ""), datetime.now(UTC) + timedelta(hours=1))
    ledger.completed(run_of(never), File("never", "f", 1, 1, ""))
    held = job_in(ledger, Status.COMPLETED)
    ledger.hold(held.id, True, who="legal")
    assert [job.id for job in ledger.expirable()] == [due.id]
    for job, reason in ((later, "expires at"), (never, "never expires"), (held, "is under legal hold")):
        with pytest.raises(RefusedError, match=reason):
            ledger.expire(job.id, pytest.fail)
    ledger.hold(held.id, False)
    ledger.hold(held.id, False)
    removed: list[str] = []
    assert ledger.expire(held.id, removed.append).status is Status.EXPIRED
    assert removed == []  # the file is also the other job's
    assert ledger.expire(due.id, removed.append).status is Status.EXPIRED
    assert removed == [FILE.key]
    assert ledger.expirable() == []
    assert [event.kind for event in ledger.events(held.id)][-3:] == [
        EventKind.HELD,
        EventKind.RELEASED,
        EventKind.PURGED,
    ]


def test_a_file_that_cannot_be_removed_leaves_the_job_as_it_was(ledger: Ledger) -> None:
    job = job_in(ledger, Status.COMPLETED)

    def down(key: str) -> None:
        raise OSError("store down")

    for attempt in (lambda: ledger.expire(job.id, down), lambda: ledger.delete(job.id, down)):
        with pytest.raises(OSError, match="store down"):
            attempt()
    assert ledger.get(job.id) == job
    assert ledger.events(job.id)[-1].kind is EventKind.COMPLETED


@pytest.mark.parametrize("status", [Status.COMPLETED, Status.FAILED, Status.CANCELED, Status.EXPIRED])
def test_a_deleted_job_loses_its_file_and_is_found_no_more(ledger: Ledger, status: Status) -> None:
    job = job_in(ledger, status)
    removed: list[str] = []
    gone = ledger.delete(job.id, removed.append, who="ann")
    assert gone.deleted_at is not None
    assert gone.status is (Status.EXPIRED if status is Status.COMPLETED else status)
    assert removed == ([FILE.key] if status is Status.COMPLETED else [])
    assert ledger.find() == []
    for call in (
        lambda: ledger.get(job.id),
        lambda: ledger.retry(job.id),
        lambda: ledger.delete(job.id, pytest.fail),
        lambda: ledger.expire(job.id, pytest.fail),
    ):
        with pytest.raises(UnknownJobError):
            call()
    last = ledger.events(job.id)[-1]
    assert (last.kind, last.who, last.details["deleted"]) == (EventKind.PURGED, "ann", True)


@pytest.mark.parametrize("status", [Status.PENDING, Status.PROCESSING])
def test_a_job_in_progress_is_not_deleted(ledger: Ledger, status: Status) -> None:
    job = job_in(ledger, status)
    with pytest.raises(RefusedError, match="cancel it first"):
        ledger.delete(job.id, pytest.fail)


def test_under_legal_hold_nothing_is_deleted(ledger: Ledger) -> None:
    job = job_in(ledger, Status.COMPLETED)
    ledger.hold(job.id, True)
    with pytest.raises(RefusedError, match="is under legal hold; release it first"):
        ledger.delete(job.id, pytest.fail)


def test_a_shared_file_goes_with_the_last_of_many_at_once(ledger: Ledger, database: Database) -> None:
    shared = File("exports/a/shared.csv", "f.csv", 1, 1, "")
    ids = []
    for _ in range(8):
        job = ledger.request("t", "csv", scope="a")
        ledger.started(Attempt(job.id, 1, "run"))
        ledger.completed(Attempt(job.id, 1, "run"), shared, PAST)
        ids.append(job.id)
    removed: list[str] = []
    ready = threading.Barrier(8)

    def expire(job_id: str) -> None:
        ready.wait()
        ledger.expire(job_id, removed.append)

    threads = [threading.Thread(target=expire, args=(job_id,)) for job_id in ids]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert removed == [shared.key]
    assert database.run("SELECT count(*) FROM export_jobs WHERE status = 'expired'") == [(8,)]


@pytest.mark.parametrize("deleted", [True, False])
def test_warnings_that_quote_rows_go_with_the_file(ledger: Ledger, deleted: bool) -> None:
    job = job_in(ledger, Status.PROCESSING)
    file = replace(FILE, warnings=("Condition 'Zephyrine' has no unit.",))
    ledger.completed(run_of(job), file, PAST)
    assert "Zephyrine" in str(ledger.get(job.id)) + str(ledger.events(job.id))
    gone = ledger.delete(job.id, lambda key: None) if deleted else ledger.expire(job.id, lambda key: None)
    with ledger._engine.connect() as connection:
        kept = connection.exec_driver_sql("SELECT warnings FROM export_jobs").scalars().all()
        details = connection.exec_driver_sql("SELECT details FROM export_events").scalars().all()
    assert list(gone.warnings) == []
    assert "Zephyrine" not in str((kept, details))
    assert FILE.key in str(details)
