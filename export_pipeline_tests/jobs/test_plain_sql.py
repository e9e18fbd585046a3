"""An application that uses the ledger by SQL only."""

import json
import re
import select
import uuid
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from export_pipeline.jobs import EventKind, Ledger, Status
from export_pipeline.jobs.database import open_engine
from export_pipeline.jobs.states import TRANSITIONS
from export_pipeline.schedules.editing import list_schedules
from export_pipeline_tests.jobs.database import Database


def test_only_dataset_and_format_are_needed(database: Database, ledger: Ledger) -> None:
    database.run("INSERT INTO export_jobs (dataset, format) VALUES ('takeoff', 'csv')")
    (job,) = ledger.find()
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", job.id)
    assert (job.dataset, job.format, job.scope) == ("takeoff", "csv", None)
    assert (job.status, job.attempt, job.priority, job.progress_percent) == (Status.PENDING, 1, 0, 0)
    assert (job.filters, job.columns, job.options, job.recipients) == ({}, None, {}, [])
    assert job.created_at.tzinfo is UTC
    assert abs(job.created_at - datetime.now(UTC)) < timedelta(minutes=1)
    assert not job.legal_hold


_DONE = "file_key = 'exports/a/1.csv', file_size = 1, sha256 = 'x'"
_STATES = {
    Status.PENDING: [],
    Status.PROCESSING: ["status = 'processing', run_id = 'r'"],
    Status.COMPLETED: ["status = 'processing', run_id = 'r'", f"status = 'completed', {_DONE}"],
    Status.FAILED: ["status = 'failed'"],
    Status.CANCELED: ["status = 'canceled'"],
    Status.EXPIRED: [
        "status = 'processing', run_id = 'r'",
        f"status = 'completed', {_DONE}",
        "status = 'expired'",
    ],
}
"""Steps by which a job comes to each state."""

_AGAIN = {Status.FAILED, Status.CANCELED, Status.PROCESSING}
"""States from which a new attempt may begin."""


@pytest.mark.parametrize("later", Status)
@pytest.mark.parametrize("earlier", Status)
def test_no_job_is_moved_as_none_may_move(database: Database, earlier: Status, later: Status) -> None:
    id = database.insert()

    def update(values: str) -> None:
        database.run(f"UPDATE export_jobs SET {values} WHERE id = ?", id)

    for step in _STATES[earlier]:
        update(step)
    if later is not earlier:
        anew = later is Status.PENDING
        allowed = earlier in _AGAIN if anew else later in TRANSITIONS[earlier]
        more = {Status.PENDING: ", attempt = 2, run_id = NULL", Status.PROCESSING: ", run_id = 'r'",
                Status.COMPLETED: f", {_DONE}"}.get(later, "")  # fmt: skip
        if more:
            with pytest.raises(database.error, match="no job may be moved so"):
                update(
                    f"status = '{later}', run_id = NULL"
                    if later is not Status.COMPLETED
                    else f"status = '{later}'"
                )
        if not allowed:
            with pytest.raises(database.error, match=r"no job may be moved so|stays what it is"):
                update(f"status = '{later}'{more}")
        else:
            update(f"status = '{later}'{more}")
            return
    for wrong in ("attempt = 2", "attempt = 0"):
        with pytest.raises(database.error, match="no job may be moved so"):
            update(wrong)
    update(f"status = '{earlier}', progress_step = 'x', legal_hold = true, expires_at = NULL")


@pytest.mark.parametrize("state", Status)
@pytest.mark.parametrize(
    "column", ["dataset", "format", "scope", "requested_by", "file_key", "file_size", "sha256"]
)
def test_a_request_and_its_result_cannot_be_changed(database: Database, state: Status, column: str) -> None:
    id = database.insert()
    for step in _STATES[state]:
        database.run(f"UPDATE export_jobs SET {step} WHERE id = ?", id)
    change = f"UPDATE export_jobs SET {column} = {'7' if column == 'file_size' else 'NULL' if column == 'scope' else repr('z')} WHERE id = ?"
    made = column in ("file_key", "file_size", "sha256")
    if state in (Status.COMPLETED, Status.EXPIRED) if made else state is not Status.PENDING:
        with pytest.raises(database.error, match="stays what it is"):
            database.run(change, id)
    else:
        database.run(change, id)
    database.run("UPDATE export_jobs SET offers = 1 WHERE id = ?", id)
    if not made and state is Status.PENDING:
        with pytest.raises(database.error, match="stays what it is"):
            database.run("UPDATE export_jobs SET scope = 'other' WHERE id = ?", id)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM export_jobs WHERE id = ?",
        "UPDATE export_jobs SET status = 'expired' WHERE id = ?",
        "UPDATE export_jobs SET deleted_at = created_at WHERE id = ?",
        "UPDATE export_jobs SET status = 'expired', legal_hold = false WHERE id = ?",
        "UPDATE export_jobs SET deleted_at = created_at, legal_hold = false WHERE id = ?",
        "UPDATE export_jobs SET window_key = 'daily/2026-01-01' WHERE id = ?",
    ],
)
def test_a_job_under_legal_hold_is_not_removed_by_sql(database: Database, statement: str) -> None:
    id = database.insert()
    for step in [*_STATES[Status.COMPLETED], "legal_hold = true"]:
        database.run(f"UPDATE export_jobs SET {step} WHERE id = ?", id)
    with pytest.raises(database.error, match="is under legal hold; release it first"):
        database.run(statement, id)
    database.run("UPDATE export_jobs SET progress_step = 'x', recipients = NULL WHERE id = ?", id)
    database.run("UPDATE export_jobs SET legal_hold = false WHERE id = ?", id)
    database.run(statement, id)


@pytest.mark.parametrize("release", ["", ", legal_hold = false"])
def test_a_job_under_legal_hold_keeps_its_id(database: Database, release: str) -> None:
    id = database.insert()
    database.run("UPDATE export_jobs SET legal_hold = true WHERE id = ?", id)
    with pytest.raises(database.error, match=r"under legal hold|stays what it is"):
        database.run(f"UPDATE export_jobs SET id = '{uuid.uuid4()}'{release} WHERE id = ?", id)
    assert database.run("SELECT id FROM export_jobs") == [(id,)]


def test_a_table_with_jobs_under_legal_hold_is_not_truncated(postgres_database: Database) -> None:
    id = postgres_database.insert()
    postgres_database.run("UPDATE export_jobs SET legal_hold = true WHERE id = ?", id)
    # Whoever does so, and wherever else a table of this name is.
    postgres_database.run("CREATE SCHEMA other; CREATE TABLE other.export_jobs (id text, legal_hold boolean)")
    schema = postgres_database.run("SELECT current_schema()")[0][0]
    try:
        postgres_database.run("SET search_path = other")
        with pytest.raises(postgres_database.error, match=f"{id} is under legal hold; release it first"):
            postgres_database.run(f"TRUNCATE {schema}.export_jobs CASCADE")
    finally:
        postgres_database.run(f"SET search_path = {schema}; DROP SCHEMA other CASCADE")
    postgres_database.run("UPDATE export_jobs SET legal_hold = false WHERE id = ?", id)
    postgres_database.run("TRUNCATE export_jobs CASCADE")
    assert postgres_database.run("SELECT id FROM export_jobs") == []


def test_ids_are_never_the_same(database: Database) -> None:
    database.insert_many(300, "a")
    assert database.run("SELECT count(DISTINCT id), count(*) FROM export_jobs") == [(300, 300)]


def test_a_schedule_needs_its_cadence_as_well(database: Database) -> None:
    database.run(
        "INSERT INTO scheduled_exports (dataset, format, cadence) VALUES ('takeoff', 'csv', 'daily')"
    )
    chosen = "hour, minute, weekday, day_of_month, timezone, misfire, empty, owner, last_run"
    assert database.run(f"SELECT {chosen} FROM scheduled_exports") == [
        (0, 0, 1, 1, "UTC", "last", "send", None, None)
    ]


def test_the_request_is_an_event_whoever_made_it(database: Database, ledger: Ledger) -> None:
    database.run("INSERT INTO export_jobs (dataset, format, requested_by) VALUES ('takeoff', 'csv', 'ann')")
    (job,) = ledger.find()
    (event,) = ledger.events(job.id)
    assert (event.kind, event.who, event.details) == (EventKind.REQUESTED, "ann", {"attempt": 1})


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("status", "'done'"),
        ("filters", "'[1]'"),
        ("filters", "'5'"),
        ("filters", "'{'"),
        ("columns", "'\"id\"'"),
        ("options", "'true'"),
        ("recipients", "'{}'"),
        ("priority", "'high'"),
        ("progress_percent", "101"),
        ("created_at", "'soon'"),
        ("created_at", "'12'"),
        ("schedule_id", "'00000000-0000-4000-8000-000000000000'"),
    ],
)
def test_unreadable_values_are_refused_at_once(database: Database, column: str, value: str) -> None:
    if not database.is_postgres:
        database.run("PRAGMA foreign_keys = ON")
    with pytest.raises(database.error):
        database.run(f"INSERT INTO export_jobs (dataset, format, {column}) VALUES ('t', 'csv', {value})")


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("filters", '{"a":' * 600 + "1" + "}" * 600),
        ("columns", "[" * 990 + "]" * 990),
        ("options", '{"a":' + "9" * 5000 + "}"),
        ("recipients", "[[" + "[" * 50 + "]" * 50 + "]]"),
    ],
)
def test_json_that_python_cannot_hold_stops_nobody_else(
    database: Database, ledger: Ledger, column: str, value: str
) -> None:
    database.run(f"INSERT INTO export_jobs (dataset, format, {column}) VALUES ('t', 'csv', ?)", value)
    database.insert()
    claimed = {job.dataset: job for job in ledger.claim(10)}
    assert set(claimed) == {"t", "takeoff"}
    (stored,) = getattr(claimed["t"], column)
    assert stored.startswith("JSON that ")
    assert claimed["t"].identity != claimed["takeoff"].identity


@pytest.mark.parametrize("depth", [1, 50])
def test_json_of_any_sensible_depth_is_read(database: Database, ledger: Ledger, depth: int) -> None:
    insert = "INSERT INTO export_jobs (dataset, format, columns) VALUES ('t', 'csv', ?)"
    database.run(insert, "[" * depth + "]" * depth)
    assert json.dumps(ledger.claim(1)[0].columns) == "[" * depth + "]" * depth


@pytest.mark.parametrize(
    "written", ["infinity", "-infinity", "10000-01-01", "0044-03-15 BC", "0001-01-01 00:00:00+14"]
)
def test_times_that_python_has_not_are_refused(postgres_database: Database, written: str) -> None:
    insert = "INSERT INTO export_jobs (dataset, format, created_at) VALUES ('t', 'csv', ?)"
    with pytest.raises(postgres_database.error, match="created_at_time"):
        postgres_database.run(insert, written)


_ODD_TIMES = {
    "2026-02-30 10:00:00": datetime(2026, 3, 2, 10, tzinfo=UTC),
    "2026-02-30T10:00:00.000000+00:00": datetime(2026, 3, 2, 10, tzinfo=UTC),
    "2026-02-20 24:00:00": datetime(2026, 2, 21, tzinfo=UTC),
    "2026-02-20T10:00:00z": datetime(2026, 2, 20, 10, tzinfo=UTC),
    "2026-02-20 10:00:00 +01:00  ": datetime(2026, 2, 20, 9, tzinfo=UTC),
}


@pytest.mark.parametrize("written", _ODD_TIMES)
def test_times_that_only_sqlite_reads_are_written_anew(sqlite_database: Database, written: str) -> None:
    sqlite_database.run(
        "INSERT INTO export_jobs (dataset, format, created_at) VALUES ('t', 'csv', ?)", written
    )
    insert = "INSERT INTO scheduled_exports (dataset, format, cadence, since, last_run) VALUES ('t', 'csv', 'daily', ?, ?)"
    sqlite_database.run(insert, written, written)
    with Ledger(sqlite_database.url) as ledger:
        (job,) = ledger.claim(1)
        assert job.created_at == _ODD_TIMES[written]
        sqlite_database.run("UPDATE export_jobs SET created_at = ?", written)
        assert ledger.get(job.id).created_at == _ODD_TIMES[written]
    engine = open_engine(sqlite_database.url)
    (schedule,) = list_schedules(engine)
    engine.dispose()
    assert schedule.since == schedule.last_run == _ODD_TIMES[written]


def test_a_time_with_an_offset_takes_its_place_in_the_queue(sqlite_database: Database) -> None:
    insert = "INSERT INTO export_jobs (dataset, format, created_at) VALUES (?, 'csv', ?)"
    sqlite_database.run(insert, "later", "2026-02-20T09:30:00Z")
    sqlite_database.run(insert, "earlier", "2026-02-20T10:00:00+01:00")
    with Ledger(sqlite_database.url) as ledger:
        assert [job.dataset for job in ledger.claim(2)] == ["earlier", "later"]


@pytest.mark.parametrize("column", ["id", "dataset", "format", "scope", "requested_by", "window_key"])
def test_bytes_are_no_text_of_a_request(sqlite_database: Database, column: str) -> None:
    row = {"dataset": "t", "format": "csv", column: b"\xff"}
    insert = f"INSERT INTO export_jobs ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})"
    with pytest.raises(sqlite_database.error, match="bytes in a text column of export_jobs; give a text"):
        sqlite_database.run(insert, *row.values())


def test_text_that_is_no_utf8_stops_nobody_else(sqlite_database: Database) -> None:
    sqlite_database.run(
        "INSERT INTO export_jobs (dataset, format) VALUES (CAST(x'ff41' AS TEXT), 'csv'), ('t', 'csv')"
    )
    with Ledger(sqlite_database.url) as ledger:
        assert {job.dataset for job in ledger.claim(2)} == {"\ufffdA", "t"}


@pytest.mark.parametrize("id", ["", "1", "../x", "x" * 5000, "7e1c9a52-0d4b-4f43-9f6e-6a0d8f3f2b11/"])
def test_an_id_is_a_uuid_on_every_database(database: Database, id: str) -> None:
    with pytest.raises(database.error):
        database.run("INSERT INTO export_jobs (id, dataset, format) VALUES (?, 't', 'csv')", id)


def test_null_and_json_null_are_nothing(database: Database, ledger: Ledger) -> None:
    insert = "INSERT INTO export_jobs (dataset, format, filters, columns, options, recipients) VALUES ('t', 'csv', "
    database.run(insert + "NULL, NULL, NULL, NULL)")
    database.run(insert + "'null', 'null', 'null', 'null')")
    for job in ledger.claim(10):
        assert (job.filters, job.columns, job.options, job.recipients) == ({}, None, {}, [])


@pytest.mark.parametrize(
    "written",
    ["2026-01-02 03:04:05", "2026-01-02T03:04:05Z", "2026-01-02T05:04:05+02:00", "2026-01-02 03:04:05.0"],
)
def test_times_that_applications_write(database: Database, ledger: Ledger, written: str) -> None:
    if database.is_postgres:
        database.run("SET timezone = 'UTC'")
    database.run("INSERT INTO export_jobs (dataset, format, created_at) VALUES ('t', 'csv', ?)", written)
    assert ledger.find()[0].created_at == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert len(ledger.claim(1)) == 1


def test_json_reads_back_as_it_was_written(database: Database, ledger: Ledger) -> None:
    filters = {
        "ünit": {"in": ["LF", None, 1, 1.5, True, "'\"\\ 漢字 🏗"]},
        "a": {"range": ["2026-01-01", None]},
    }
    insert = "INSERT INTO export_jobs (dataset, format, filters, columns) VALUES ('t', 'csv', ?, ?)"
    database.run(insert, json.dumps(filters), '["id", "name"]')
    (job,) = ledger.claim(1)
    assert (job.filters, job.columns) == (filters, ["id", "name"])


def test_the_right_to_insert_is_enough(postgres_database: Database) -> None:
    owner = postgres_database
    with Ledger(owner.url) as ledger:
        name = f"web_{sa.make_url(owner.url).database}"
        owner.run(f"CREATE ROLE {name}")
        try:
            owner.run(f"GRANT INSERT ON export_jobs TO {name}")
            owner.run(f"SET ROLE {name}")
            owner.run("INSERT INTO export_jobs (dataset, format, scope) VALUES ('takeoff', 'csv', '1')")
            with pytest.raises(owner.error, match="permission denied"):
                owner.run("SELECT * FROM export_events")
            with pytest.raises(owner.error, match="permission denied"):
                owner.run("UPDATE export_jobs SET status = 'completed'")
        finally:
            owner.run("RESET ROLE")
            owner.run(f"DROP OWNED BY {name}")
            owner.run(f"DROP ROLE {name}")
        (job,) = ledger.claim(10)
        assert len(ledger.events(job.id)) == 1


def test_postgresql_tells_listeners_of_a_request(postgres_database: Database) -> None:
    with closing(Database(postgres_database.url)) as listener:
        listener.run("LISTEN export_jobs")
        job_id = postgres_database.insert()
        assert select.select([listener.connection], [], [], 10)[0]
        listener.connection.poll()
        assert [notice.payload for notice in listener.connection.notifies] == [job_id]
