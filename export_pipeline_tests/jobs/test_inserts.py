"""The database refuses a new row that sets a result column."""

import json
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config

from export_pipeline.jobs import Ledger, Status, migrate, migrations
from export_pipeline.jobs.database import open_engine, transaction
from export_pipeline.jobs.tables import jobs
from export_pipeline.schedules.cadence_requests import CadenceWindow, request_windows
from export_pipeline.schedules.editing import list_schedules
from export_pipeline_tests.jobs.database import Database
from export_pipeline_tests.jobs.lives import FILE

_TIME = "'2026-01-01T00:00:00+00:00'"
_FORGED = {
    "status": "'processing'",
    "progress_percent": "5",
    "progress_step": "'Reading'",
    "total_rows": "0",
    "row_count": "0",
    "file_key": f"'{FILE.key}'",
    "file_name": "'x'",
    "file_size": "0",
    "sha256": "'x'",
    "error_code": "'x'",
    "error_message": "'x'",
    "attempt": "2",
    "run_id": "'somebody else''s'",
    "claimed_at": _TIME,
    "claimed_by": "'x'",
    "offers": "1",
    "started_at": _TIME,
    "completed_at": _TIME,
    "expires_at": _TIME,
    "legal_hold": "'1'",
    "deleted_at": _TIME,
    "warnings": """'["x"]'""",
    "changed_cells": """'{"x": {}}'""",
}


@pytest.mark.parametrize("column", _FORGED)
def test_an_insert_that_sets_a_result_is_refused(database: Database, ledger: Ledger, column: str) -> None:
    with pytest.raises(database.error, match="leave out everything that says what became of it"):
        database.run(
            f"INSERT INTO export_jobs (dataset, format, {column}) VALUES ('t', 'csv', {_FORGED[column]})"
        )
    assert ledger.find() == []


def test_every_other_column_may_be_given(database: Database, ledger: Ledger) -> None:
    given = {
        "id": "'7e1c9a52-0d4b-4f43-9f6e-6a0d8f3f2b11'",
        "scope": "'a'",
        "filters": "'{}'",
        "columns": "'[]'",
        "options": "'{}'",
        "requested_by": "'ann'",
        "recipients": "'[]'",
        "priority": "3",
        "window_key": "'w'",
        "idempotency_key": "'k'",
        "created_at": _TIME,
    }
    names, values = ", ".join(given), ", ".join(given.values())
    database.run(f"INSERT INTO export_jobs (dataset, format, {names}) VALUES ('t', 'csv', {values})")
    assert len(ledger.find()) == 1
    known = {*given, *_FORGED, "dataset", "format", "schedule_id", "scheduled_for", "webhook_id"}
    assert known == {column.name for column in jobs.columns}


def test_no_window_of_another_scopes_schedule_is_taken(database: Database, ledger: Ledger) -> None:
    insert = (
        "INSERT INTO scheduled_exports (dataset, format, scope, cadence) VALUES ('t', 'csv', 'b', 'daily')"
    )
    ((schedule,),) = database.run(f"{insert} RETURNING id")
    take = "INSERT INTO export_jobs (dataset, format, scope, schedule_id, window_key) VALUES ('t', 'csv', ?, ?, 'w')"
    for scope in ("a", None):
        with pytest.raises(database.error, match="in the scope of the schedule"):
            database.run(take, scope, schedule)
    database.run(take, "b", schedule)
    assert len(ledger.find()) == 1


@pytest.mark.slow
def test_an_older_ledger_is_brought_up_to_date(url: str) -> None:
    """One that was made before rows were judged keeps what it holds, but for times that nobody can read."""
    _made_as_of(url, "0001")
    with closing(Database(url)) as database:
        kept = "INSERT INTO export_jobs (dataset, format, status) VALUES ('t', 'csv', 'completed')"
        database.run(kept)
        odd = "infinity" if database.is_postgres else "2026-02-30 10:00"
        database.run("INSERT INTO export_jobs (dataset, format, created_at) VALUES ('odd', 'csv', ?)", odd)
        migrate(url)
        migrate(url)
        with pytest.raises(database.error):
            database.run(kept)
    with Ledger(url) as ledger:
        assert {(job.dataset, job.status) for job in ledger.find()} == {
            ("t", "completed"),
            ("odd", "pending"),
        }
        assert [job.dataset for job in ledger.claim(2)] == ["odd"]


@pytest.mark.slow
def test_the_requester_leaves_the_options_of_an_older_ledger(url: str) -> None:
    """A file that was made for somebody keeps the name; what has not run yet is asked for by nobody else."""
    _made_as_of(url, "0001")
    named, insert = (
        '{"requested_by": "boss", "a": 1}',
        "INSERT INTO export_jobs (dataset, format, options, status",
    )
    with closing(Database(url)) as database:
        for status in ("completed", "pending", "failed"):
            database.run(f"{insert}) VALUES (?, 'csv', ?, ?)", status, named, status)
        database.run(f"{insert}, requested_by) VALUES ('ann''s', 'csv', ?, 'completed', 'ann')", named)
        database.run(f"{insert}) VALUES ('other', 'csv', '{{}}', 'pending')")
        database.run(
            "INSERT INTO scheduled_exports (dataset, format, cadence, options) VALUES ('t', 'csv', 'daily', ?)",
            named,
        )
        migrate(url)
    with Ledger(url) as ledger:
        jobs = {job.dataset: (job.requested_by, job.options) for job in ledger.find()}
        (schedule,) = list_schedules(ledger._engine)
    assert jobs == {
        "completed": ("boss", {"a": 1}),
        "pending": (None, {"a": 1}),
        "failed": (None, {"a": 1}),
        "ann's": ("ann", {"a": 1}),
        "other": (None, {}),
    }
    assert (schedule.owner, schedule.options) == (None, {"a": 1})


def test_migration_fails_waiting_requests_that_are_too_long(url: str) -> None:
    _made_as_of(url, "0005")
    with closing(Database(url)) as database:
        insert = "INSERT INTO export_jobs (dataset, format, recipients) VALUES (?, 'csv', ?)"
        database.run(insert, "huge", json.dumps([" " * 600_000]))
        database.run(insert, "small", "[]")
    migrate(url)
    with Ledger(url) as ledger:
        assert [job.dataset for job in ledger.claim(10)] == ["small"]
        (huge,) = ledger.find(status=[Status.FAILED])
    assert (huge.dataset, huge.error_code) == ("huge", "invalid_options")
    assert "at most 500,000 bytes" in str(huge.error_message)


def _made_as_of(url: str, version: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    if url.startswith("sqlite:///"):
        Path(url.removeprefix("sqlite:///")).touch()
    engine = open_engine(url)
    with transaction(engine, write=True) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, version)
    engine.dispose()


def test_the_formats_of_a_window_are_claimed_together(database: Database, ledger: Ledger) -> None:
    windows = [CadenceWindow("takeoff", "daily", "2026-01-31", scope) for scope in ("a", "b", None)]
    engine = open_engine(database.url)
    asked = {"recipients": ["a@example.org"], "owners": []}
    formats = ["csv", "excel", "pdf"]
    assert request_windows(engine, windows, formats, **asked) == 9
    assert request_windows(engine, windows, [*formats, "json"], **asked) == 3
    engine.dispose()
    database.insert("a")  # who waits goes first
    (first, *_) = ledger.claim(1)
    assert CadenceWindow.of(first) is None
    claimed = ledger.claim(2)
    assert len(claimed) == 8
    assert len({CadenceWindow.of(job) for job in claimed}) == 2
    assert {job.dispatches for job in claimed} == {1}
    assert len(ledger.claim(1)) == 4
    assert ledger.claim(10) == []
