import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from export_pipeline.jobs import (
    Attempt,
    EventKind,
    IllegalTransitionError,
    Job,
    Ledger,
    LedgerError,
    RefusedError,
    Status,
    SupersededError,
    UnknownJobError,
)
from export_pipeline.jobs.states import TRANSITIONS
from export_pipeline_tests.jobs.database import Database
from export_pipeline_tests.jobs.lives import FILE, PAST, job_in, run_of


def again(ledger: Ledger, job: Job) -> Job:
    """Begin a new attempt: by itself of a job that is worked on, else by a person."""
    if job.status is Status.PROCESSING:
        return ledger.restart(job.current, "worker_lost", "Its worker was lost.")
    return ledger.retry(job.id)


MOVES: dict[Status, Callable[[Ledger, Job], Job]] = {
    Status.PENDING: again,
    Status.PROCESSING: lambda ledger, job: ledger.started(run_of(job)),
    Status.COMPLETED: lambda ledger, job: ledger.completed(run_of(job), FILE, PAST),
    Status.FAILED: lambda ledger, job: ledger.failed(job.current, "code", "message"),
    Status.CANCELED: lambda ledger, job: ledger.canceled(job.id),
    Status.EXPIRED: lambda ledger, job: ledger.expire(job.id, lambda key: None),
}


def kinds(ledger: Ledger, job: Job) -> list[EventKind]:
    return [event.kind for event in ledger.events(job.id)]


def test_the_moves_are_those_that_were_agreed() -> None:
    assert {(a, b) for a, later in TRANSITIONS.items() for b in later} == {
        ("pending", "processing"),
        ("pending", "failed"),
        ("pending", "canceled"),
        ("processing", "completed"),
        ("processing", "failed"),
        ("processing", "canceled"),
        ("processing", "pending"),
        ("completed", "expired"),
        ("failed", "pending"),
        ("canceled", "pending"),
    }


@pytest.mark.slow
@pytest.mark.parametrize("to", Status)
def test_every_move_from_every_state(ledger: Ledger, to: Status) -> None:
    for start in Status:
        job = job_in(ledger, start)
        before = kinds(ledger, job)
        if to in TRANSITIONS[start]:
            assert MOVES[to](ledger, job).status == to
            assert len(kinds(ledger, job)) == len(before) + 1
        elif to == start and to is not Status.PENDING:
            assert MOVES[to](ledger, job) == job  # made already
            assert kinds(ledger, job) == before
        else:
            allowed = {
                Status.CANCELED: f"is {start}: it has ended already",
                Status.PENDING: f"is {start}, and only a failed or canceled one can be tried again",
            }.get(to, f"is {start} and cannot become {to}")
            with pytest.raises(IllegalTransitionError, match=allowed):
                MOVES[to](ledger, job)
            assert ledger.get(job.id) == job
            assert kinds(ledger, job) == before


def test_a_job_passes_from_request_to_expiry(ledger: Ledger) -> None:
    job = ledger.request(
        "takeoff",
        "csv",
        scope="a",
        filters={"unit": {"in": ["LF"]}},
        columns=["id"],
        options={"bom": True},
        requested_by="ann",
        recipients=["ann@example.com"],
        priority=3,
    )
    assert (job.filters, job.columns, job.options) == ({"unit": {"in": ["LF"]}}, ["id"], {"bom": True})
    assert (job.recipients, job.priority) == (["ann@example.com"], 3)
    run = run_of(job)
    job = ledger.started(run)
    assert (job.status, job.run_id) == (Status.PROCESSING, run.run_id)
    assert job.started_at is not None
    ledger.progress(run, "Reading", percent=10, rows=5, total=42)
    job = ledger.progress(run, "Reading", percent=20.9, rows=10, total=42)
    assert (job.progress_percent, job.progress_step, job.row_count, job.total_rows) == (20, "Reading", 10, 42)
    expires = datetime(2030, 1, 1, tzinfo=UTC)
    job = ledger.completed(run, FILE, expires)
    assert (job.file_key, job.file_name, job.file_size) == (FILE.key, FILE.name, FILE.size)
    assert (job.row_count, job.sha256, job.expires_at) == (FILE.rows, FILE.sha256, expires)
    assert job.progress_percent == 100
    assert job.completed_at is not None
    assert job.completed_at >= job.started_at is not None
    ledger.record(job.id, EventKind.SENT, "mail", {"to": "ann@example.com"})
    ledger.record(job.id, EventKind.DOWNLOADED, "ann")
    assert kinds(ledger, job) == ["requested", "started", "progress", "completed", "sent", "downloaded"]


def test_percentages_stay_within_bounds_and_never_fall(ledger: Ledger) -> None:
    run = run_of(job_in(ledger, Status.PROCESSING))
    percentages = (-5, 40, 30, 1e9, 7)
    assert [ledger.progress(run, "Reading", percent=p).progress_percent for p in percentages] == [
        0,
        40,
        40,
        100,
        100,
    ]


def test_a_late_worker_cannot_overwrite_a_cancel(ledger: Ledger) -> None:
    job = job_in(ledger, Status.PROCESSING)
    canceled = ledger.canceled(job.id, who="ann")
    for report in (
        lambda: ledger.progress(run_of(job), "Writing", percent=50),
        lambda: ledger.completed(run_of(job), FILE),
        lambda: ledger.failed(run_of(job), "code", "message"),
        lambda: ledger.started(run_of(job)),
    ):
        with pytest.raises(RefusedError) as caught:
            report()
        assert caught.value.status is Status.CANCELED
    assert ledger.get(job.id) == canceled


@pytest.mark.slow
@pytest.mark.parametrize("again", [Status.PENDING, Status.PROCESSING, Status.COMPLETED, Status.CANCELED])
def test_a_late_worker_cannot_touch_a_newer_attempt(ledger: Ledger, again: Status) -> None:
    old = job_in(ledger, Status.PROCESSING)
    ledger.failed(run_of(old), "lost", "The machine was lost.")
    new = ledger.retry(old.id)
    if again is not Status.PENDING:
        new = ledger.started(run_of(new))
    if again is Status.COMPLETED:
        new = ledger.completed(run_of(new), FILE)
    if again is Status.CANCELED:
        new = ledger.canceled(new.id)
    for late in (run_of(old), old.current, Attempt(old.id, 1)):
        for report in (
            lambda late=late: ledger.progress(late, "Writing", percent=50),
            lambda late=late: ledger.completed(late, FILE),
            lambda late=late: ledger.failed(late, "code", "message"),
            lambda late=late: ledger.canceled(late),
        ):
            with pytest.raises(SupersededError, match=r"Attempt 1 is over: .* is at attempt 2"):
                report()
    assert ledger.get(old.id) == new


def test_one_of_two_runs_has_the_job(ledger: Ledger) -> None:
    job = job_in(ledger, Status.PROCESSING)
    other = run_of(job, "other")
    for report in (
        lambda: ledger.started(other),
        lambda: ledger.progress(other, "Writing", percent=50),
        lambda: ledger.completed(other, FILE),
        lambda: ledger.failed(other, "code", "message"),
        lambda: ledger.canceled(other),
    ):
        with pytest.raises(SupersededError, match=f"run run-{job.id}-1 has it"):
            report()
    assert ledger.get(job.id) == job


def test_a_run_that_is_a_retry_takes_over(ledger: Ledger) -> None:
    job = job_in(ledger, Status.PROCESSING)
    first, second = run_of(job), run_of(job, "second")
    assert ledger.started(second, replaces=first.run_id).run_id == second.run_id
    assert ledger.started(second, replaces=first.run_id).run_id == second.run_id  # once more, to no effect
    assert kinds(ledger, job) == ["requested", "started", "started"]
    with pytest.raises(SupersededError):
        ledger.completed(first, FILE)
    assert ledger.completed(second, FILE).status is Status.COMPLETED


def test_a_retry_of_a_run_that_never_reported_starts_the_job(ledger: Ledger) -> None:
    job = job_in(ledger, Status.PENDING)
    assert ledger.started(run_of(job, "second"), replaces="first").status is Status.PROCESSING


def test_a_run_that_died_before_it_started_the_job_fails_it(ledger: Ledger) -> None:
    job = job_in(ledger, Status.PENDING)
    assert ledger.failed(run_of(job), "crashed", "The run crashed.").status is Status.FAILED


def test_a_new_attempt_begins_from_nothing(ledger: Ledger, database: Database) -> None:
    job = database.insert()
    (claimed,) = ledger.claim(1)
    ledger.started(run_of(claimed))
    ledger.progress(run_of(claimed), "Reading", percent=50, rows=5, total=10)
    ledger.failed(run_of(claimed), "source_down", "The database is down.")
    with pytest.raises(IllegalTransitionError):
        ledger.expire(job, lambda key: None)
    new = ledger.retry(job, who="ann")
    assert (new.status, new.attempt, new.dispatches, new.progress_percent) == (Status.PENDING, 2, 0, 0)
    for cleared in ("run_id", "error_code", "error_message", "row_count", "total_rows", "progress_step"):
        assert getattr(new, cleared) is None
    for cleared in ("claimed_at", "claimed_by", "started_at", "completed_at"):
        assert getattr(new, cleared) is None
    assert new.current.run_key != claimed.current.run_key
    assert ledger.claim(1)[0].attempt == 2
    *_, failed, asked = ledger.events(job)
    assert failed.details["message"] == "The database is down."
    assert (asked.kind, asked.who, asked.details["attempt"]) == (EventKind.REQUESTED, "ann", 2)


@pytest.mark.parametrize(
    ("message", "stored"),
    [
        ("x" * 2_000_000, "x" * 2_000_000),
        ("a\x00b\ud800c\n\r\t\x1b'\"; DROP TABLE export_jobs; -- %s %(x)s :y", None),
        ("漢字 🏗 \u202e", "漢字 🏗 \u202e"),
        ("", ""),
    ],
)
def test_messages_of_any_length_and_content(ledger: Ledger, message: str, stored: str | None) -> None:
    job = job_in(ledger, Status.PROCESSING)
    if stored is None:
        stored = message.replace("\x00", "\ufffd").replace("\ud800", "\ufffd" * 3)
    failed = ledger.failed(run_of(job), "bad\x00code", message, who="a\x00b")
    assert failed.status is Status.FAILED
    assert (failed.error_code, failed.error_message) == ("bad\ufffdcode", stored)
    assert failed.completed_at is not None
    assert ledger.events(job.id)[-1].details["message"] == stored
    assert ledger.events(job.id)[-1].who == "a\ufffdb"


def test_each_window_of_a_schedule_is_asked_for_once(ledger: Ledger, database: Database) -> None:
    insert = (
        "INSERT INTO scheduled_exports (dataset, format, cadence) VALUES ('t', 'csv', 'daily') RETURNING id"
    )
    schedule = str(database.run(insert)[0][0])
    first = ledger.request("t", "csv", schedule_id=schedule, window_key="2026-11-20")
    assert ledger.request("t", "csv", schedule_id=schedule, window_key="2026-11-20") == first
    assert ledger.request("t", "csv", schedule_id=schedule, window_key="2026-11-21").id != first.id
    assert len(ledger.find(schedule_id=schedule)) == 2
    database.run("DELETE FROM export_jobs WHERE id <> ?", first.id)
    if not database.is_postgres:
        database.run("PRAGMA foreign_keys = ON")
    database.run("DELETE FROM scheduled_exports")
    assert ledger.get(first.id).schedule_id == schedule  # else it would pass for one that somebody asked for


def test_requests_that_cannot_be_kept_are_refused(ledger: Ledger) -> None:
    with pytest.raises(LedgerError, match="filters hold a NUL or a broken character"):
        ledger.request("t", "csv", filters={"name": {"in": ("a", ["b\x00"])}})
    with pytest.raises(LedgerError, match="requested_by hold a NUL or a broken character"):
        ledger.request("t", "csv", requested_by="\ud800")
    with pytest.raises(LedgerError, match=r"cannot be kept .* not JSON serializable"):
        ledger.request("t", "csv", filters={"day": {"equals": datetime.now(UTC)}})
    with pytest.raises(LedgerError, match="refuses"):
        ledger.request("t", "csv", options={"width": float("nan")})
    with pytest.raises(LedgerError, match="refuses"):
        ledger.request("t", "csv", schedule_id="00000000-0000-4000-8000-000000000000")
    assert ledger.find() == []
    assert ledger.request("t", "csv", filters={"name": {"in": ("a", "b")}}).filters == {
        "name": {"in": ["a", "b"]}
    }


def test_times_without_a_zone_are_refused(ledger: Ledger) -> None:
    job = job_in(ledger, Status.PROCESSING)
    with pytest.raises(LedgerError, match="a time must have a zone"):
        ledger.completed(run_of(job), FILE, datetime(2030, 1, 1))
    assert ledger.get(job.id) == job


def test_an_unknown_job_is_refused_by_every_transition(ledger: Ledger) -> None:
    for unknown in ("00000000-0000-4000-8000-000000000000", "no uuid", "", "a\x00"):
        for call in (
            lambda unknown=unknown: ledger.get(unknown),
            lambda unknown=unknown: ledger.canceled(unknown),
            lambda unknown=unknown: ledger.retry(unknown),
            lambda unknown=unknown: ledger.hold(unknown, True),
            lambda unknown=unknown: ledger.delete(unknown, lambda key: None),
            lambda unknown=unknown: ledger.expire(unknown, lambda key: None),
            lambda unknown=unknown: ledger.started(Attempt(unknown, 1, "run")),
            lambda unknown=unknown: ledger.progress(Attempt(unknown, 1), "Reading", percent=1),
            lambda unknown=unknown: ledger.record(unknown, EventKind.SENT),
        ):
            with pytest.raises(UnknownJobError, match="There is no export job"):
                call()


def test_events_that_are_moves_are_not_noted(ledger: Ledger) -> None:
    with pytest.raises(ValueError, match="completed is no event"):
        ledger.record(job_in(ledger, Status.PENDING).id, EventKind.COMPLETED)


def test_times_are_the_databases(ledger: Ledger) -> None:
    job = job_in(ledger, Status.COMPLETED)
    for moment in (job.created_at, job.started_at, job.completed_at):
        assert moment is not None
        assert abs(moment - datetime.now(UTC)) < timedelta(minutes=1)


@pytest.mark.slow
def test_one_of_two_simultaneous_transitions_wins(ledger: Ledger) -> None:
    for _ in range(10):
        job = job_in(ledger, Status.PROCESSING)
        ready, refused = threading.Barrier(3), list[Status]()

        def move(report: Callable[[], Job], ready: threading.Barrier, refused: list[Status]) -> None:
            ready.wait()
            try:
                report()
            except RefusedError as error:
                refused.append(error.status)

        reports: list[Callable[[], Job]] = [
            lambda job=job: ledger.completed(run_of(job), FILE),  # type: ignore[misc]
            lambda job=job: ledger.canceled(job.id),  # type: ignore[misc]
            lambda job=job: ledger.failed(run_of(job), "code", "message"),  # type: ignore[misc]
        ]
        threads = [threading.Thread(target=move, args=(report, ready, refused)) for report in reports]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        end = ledger.get(job.id)
        assert refused == [end.status] * 2
        assert kinds(ledger, job) == ["requested", "started", end.status]
        assert (end.file_key is not None) == (end.status is Status.COMPLETED)
        assert (end.error_code is not None) == (end.status is Status.FAILED)
