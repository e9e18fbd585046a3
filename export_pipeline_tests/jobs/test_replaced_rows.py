"""SQLite's OR REPLACE deletes the row in the way without firing a trigger; the ledger refuses it."""

from typing import Any

import pytest

from export_pipeline_tests.jobs.database import Database

_ONE, _OTHER = "00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"
_SCHEDULE = "00000000-0000-4000-8000-0000000000aa"


@pytest.fixture
def database(sqlite_database: Database) -> Database:
    """A ledger with a finished export that has an id, an idempotency key and a window, and a second request."""
    run = sqlite_database.run
    run(
        "INSERT INTO scheduled_exports (id, dataset, format, scope, cadence) "
        "VALUES (?, 'records', 'csv', 'a', 'daily')", _SCHEDULE,
    )  # fmt: skip
    run(
        "INSERT INTO export_jobs (id, dataset, format, scope, idempotency_key, schedule_id, window_key) "
        "VALUES (?, 'records', 'csv', 'a', 'click', ?, 'w')", _ONE, _SCHEDULE,
    )  # fmt: skip
    run("INSERT INTO export_jobs (id, dataset, format, scope) VALUES (?, 'records', 'csv', 'a')", _OTHER)
    run("UPDATE export_jobs SET status = 'processing', run_id = 'r' WHERE id = ?", _ONE)
    run(
        "UPDATE export_jobs SET status = 'completed', file_key = 'exports/a/1.csv', sha256 = 'x' WHERE id = ?",
        _ONE,
    )
    run("INSERT INTO export_commands (job_id, command) VALUES (?, 'retry')", _ONE)
    run("UPDATE export_commands SET status = 'refused', answer = 'It is completed.'")
    return sqlite_database


def _rows(database: Database) -> list[list[tuple[Any, ...]]]:
    tables = ("export_jobs", "scheduled_exports", "export_commands", "export_events")
    return [database.run(f"SELECT rowid, * FROM {table}") for table in tables]


@pytest.mark.parametrize(
    "statement",
    [
        f"REPLACE INTO export_jobs (id, dataset, format, scope) VALUES ('{_ONE}', 'records', 'csv', 'b')",
        f"INSERT OR REPLACE INTO export_jobs (id, dataset, format) VALUES ('{_OTHER}', 'records', 'csv')",
        "INSERT OR REPLACE INTO export_jobs (dataset, format, scope, idempotency_key) "
        "VALUES ('records', 'csv', 'a', 'click')",
        "INSERT OR REPLACE INTO export_jobs (dataset, format, scope, schedule_id, window_key) "
        f"VALUES ('records', 'csv', 'a', '{_SCHEDULE}', 'w')",
        "INSERT OR REPLACE INTO export_jobs (rowid, dataset, format) VALUES (1, 'records', 'csv')",
        "INSERT OR REPLACE INTO export_jobs (id, dataset, format) SELECT id, dataset, format FROM export_jobs",
        f"UPDATE OR REPLACE export_jobs SET id = '{_ONE}' WHERE id = '{_OTHER}'",
        f"UPDATE OR REPLACE export_jobs SET rowid = 1 WHERE id = '{_OTHER}'",
        f"UPDATE OR REPLACE export_jobs SET idempotency_key = 'click' WHERE id = '{_OTHER}'",
        f"UPDATE OR REPLACE export_jobs SET schedule_id = '{_SCHEDULE}', window_key = 'w' WHERE id = '{_OTHER}'",
        f"UPDATE export_jobs SET id = '{_SCHEDULE}' WHERE id = '{_ONE}'",
        "REPLACE INTO scheduled_exports (id, dataset, format, scope, cadence) "
        f"VALUES ('{_SCHEDULE}', 'records', 'csv', 'b', 'daily')",
        "INSERT OR REPLACE INTO scheduled_exports (rowid, dataset, format, cadence) "
        "VALUES (1, 'records', 'csv', 'daily')",
        f"INSERT OR REPLACE INTO export_commands (id, job_id, command) VALUES (1, '{_ONE}', 'delete')",
    ],
)
def test_no_row_takes_the_place_of_another(database: Database, statement: str) -> None:
    before = _rows(database)
    with pytest.raises(database.error, match=r"cannot be replaced|stays what it is"):
        database.run(statement)
    assert _rows(database) == before


def test_a_row_in_the_way_can_be_skipped_or_updated(database: Database) -> None:
    before = _rows(database)
    values = f"(id, dataset, format, scope) VALUES ('{_ONE}', 'records', 'csv', 'b')"
    database.run(f"INSERT OR IGNORE INTO export_jobs {values}")
    database.run(f"INSERT INTO export_jobs {values} ON CONFLICT DO NOTHING")
    with pytest.raises(database.error, match="UNIQUE"):
        database.run(f"INSERT INTO export_jobs {values}")
    assert _rows(database) == before
    database.run(f"INSERT INTO export_jobs {values} ON CONFLICT (id) DO UPDATE SET priority = 7")
    assert database.run("SELECT priority, status, scope FROM export_jobs WHERE id = ?", _ONE) == [
        (7, "completed", "a")
    ]
    # What was skipped before stops no later request, not even one that says OR REPLACE where nothing is.
    new = database.run(
        "INSERT OR REPLACE INTO export_jobs (dataset, format) VALUES ('records', 'csv') RETURNING id"
    )
    database.run("DELETE FROM export_jobs WHERE id = ?", new[0][0])
    database.run("INSERT INTO export_jobs (id, dataset, format) VALUES (?, 'records', 'csv')", new[0][0])
