import logging
import re
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from export_pipeline.jobs import (
    Ledger,
    LedgerError,
    LedgerUnavailableError,
    NoLedgerError,
    migrate,
    migrations,
)
from export_pipeline.jobs.database import open_engine
from export_pipeline.jobs.migrate import VERSION_TABLE, enable_wal, is_current
from export_pipeline.jobs.tables import metadata, sqlite_metadata
from export_pipeline.settings import load_settings
from export_pipeline_tests.jobs.database import Database
from export_pipeline_tests.services.postgres import PostgresServer

_SCRIPTS = ScriptDirectory(str(Path(str(migrations.__file__)).parent))
_VERSIONS_BEFORE = [script.revision for script in _SCRIPTS.iterate_revisions("head", "0020")][1:]
"""Versions of the tables since 0021 that are not the newest; a version of the code was used with each."""


def test_a_second_time_nothing_happens(url: str) -> None:
    migrate(url)
    engine = sa.create_engine(url)
    before = _described(engine)
    migrate(url)
    assert _described(engine) == before
    declared = {**metadata.tables, **(sqlite_metadata.tables if engine.dialect.name == "sqlite" else {})}
    assert set(sa.inspect(engine).get_table_names()) == {*declared, VERSION_TABLE}
    engine.dispose()


@pytest.mark.slow
def test_processes_that_migrate_at_once_wait_for_each_other(url: str) -> None:
    program = "import sys; from export_pipeline.jobs import migrate; migrate(sys.argv[1])"
    started = [
        subprocess.Popen([sys.executable, "-c", program, url], stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    assert [(process.communicate(timeout=240)[1], process.returncode) for process in started] == [("", 0)] * 3
    with Ledger(url) as ledger:
        assert ledger.find() == []


@pytest.mark.slow
def test_a_file_is_prepared_by_several_at_the_same_moment(tmp_path: Path) -> None:
    """SQLite told one of them at once, some times in a hundred, that the file is locked."""
    for number in range(100):
        together = threading.Barrier(6)

        def prepare(url: str, together: threading.Barrier) -> None:
            engine = open_engine(url)
            together.wait()
            enable_wal(engine)

        with ThreadPoolExecutor(6) as pool:
            url = f"sqlite:///{tmp_path}/{number}.db"
            done = [pool.submit(prepare, url, together) for _ in range(6)]
        assert [one.exception() for one in done] == [None] * 6


def test_the_applications_own_migrations_are_left_alone(url: str) -> None:
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE alembic_version (version_num varchar(32) NOT NULL)")
        connection.exec_driver_sql("INSERT INTO alembic_version VALUES ('of the application')")
    migrate(url)
    with engine.begin() as connection:
        assert connection.exec_driver_sql("SELECT * FROM alembic_version").all() == [("of the application",)]
    engine.dispose()


def test_logging_is_left_alone(sqlite_jobs_url: str) -> None:
    before = (logging.root.level, list(logging.root.handlers))
    migrate(sqlite_jobs_url)
    assert (logging.root.level, list(logging.root.handlers)) == before


def test_alembic_sees_no_difference_to_the_tables(database: Database) -> None:
    engine = sa.create_engine(database.url)
    with engine.connect() as connection, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of SQLite's indexes on expressions, which are compared below
        options = {"version_table": VERSION_TABLE, "compare_type": True}
        context = MigrationContext.configure(connection, opts=options)
        declared = [metadata] if database.is_postgres else [metadata, sqlite_metadata]
        differences = compare_metadata(context, declared)
    engine.dispose()
    assert differences == []


@pytest.mark.slow
def test_tables_of_sqlite_equal_the_declared_ones_word_for_word(tmp_path: object) -> None:
    migrate(f"sqlite:///{tmp_path}/migrated.db")
    made = sa.create_engine(f"sqlite:///{tmp_path}/made.db")
    metadata.create_all(made)
    sqlite_metadata.create_all(made)
    migrated = sa.create_engine(f"sqlite:///{tmp_path}/migrated.db")
    assert _described(migrated) == _described(made)


@pytest.mark.slow
def test_tables_of_postgresql_equal_the_declared_ones(postgres: PostgresServer) -> None:
    with postgres.database() as one, postgres.database() as other:
        migrate(one)
        migrated, made = sa.create_engine(one), sa.create_engine(other)
        metadata.create_all(made)
        assert _described(migrated) == _described(made)
        migrated.dispose()
        made.dispose()


@pytest.mark.slow
@pytest.mark.parametrize("version", _VERSIONS_BEFORE)
def test_a_version_before_can_use_the_tables(url: str, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    """While workers are exchanged: it finds all its columns, and may leave out those that are new."""
    _migrate_to(version, url, monkeypatch)
    before = _columns(url)
    assert migrate(url) == "brought up to date"
    after = _columns(url)
    assert before.keys() <= after.keys()
    for table, columns in before.items():
        kept = {name: (str(column["type"]), column["nullable"]) for name, column in columns.items()}
        now = {name: (str(column["type"]), column["nullable"]) for name, column in after[table].items()}
        assert kept.items() <= now.items(), table
        new = [after[table][name] for name in now.keys() - kept.keys()]
        assert all(column["nullable"] or column["default"] is not None for column in new), table


def _migrate_to(version: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    to_head = command.upgrade
    with monkeypatch.context() as patch:
        patch.setattr(command, "upgrade", lambda config, _: to_head(config, version))
        migrate(url)


@pytest.mark.slow
@pytest.mark.parametrize("version", _VERSIONS_BEFORE)
def test_statements_of_a_version_before_work_before_and_after(
    url: str, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    """Its rows stay, and what it has begun it can go on with."""
    _migrate_to(version, url, monkeypatch)
    with closing(Database(url)) as database:
        begun, schedule = _request_of_before(database, "before")
        assert migrate(url) == "brought up to date"
        _work_of_before(database, begun, schedule)
        _work_of_before(database, *_request_of_before(database, "after"))
        both = database.run("SELECT window_key, status FROM export_jobs ORDER BY window_key")
        assert both == [("after", "completed"), ("before", "completed")]


def _request_of_before(database: Database, window: str) -> tuple[str, str]:
    """Insert a schedule and a request of it, twice, as versions since 0021 do; return their ids."""
    schedules = (
        "INSERT INTO scheduled_exports (dataset, format, cadence) VALUES ('t', 'csv', 'daily') RETURNING id"
    )
    schedule = str(database.run(schedules)[0][0])
    insert = (
        "INSERT INTO export_jobs (dataset, format, filters, options, recipients, schedule_id, window_key, "
        "scheduled_for) VALUES ('t', 'csv', '{}', '{}', '[]', ?, ?, '2026-11-20T00:00:00.000000+00:00') "
        "ON CONFLICT (schedule_id, window_key) DO NOTHING RETURNING id"
    )
    ((job,),) = database.run(insert, schedule, window)
    assert database.run(insert, schedule, window) == []
    return str(job), schedule


def _work_of_before(database: Database, job: str, schedule: str) -> None:
    """Claim and complete a request with a lease, and delete its schedule meanwhile."""
    now = "now()" if database.is_postgres else "strftime('%Y-%m-%dT%H:%M:%f', 'now') || '000+00:00'"
    skip = "FOR UPDATE SKIP LOCKED" if database.is_postgres else ""
    claim = (
        f"UPDATE export_jobs SET claimed_at = {now} WHERE id IN (SELECT id FROM export_jobs WHERE "
        f"status = 'pending' AND claimed_at IS NULL ORDER BY priority DESC, created_at LIMIT 1 {skip}) RETURNING id"
    )
    assert [str(id) for (id,) in database.run(claim)] == [job]
    run = f"run of {job}"
    lease = (
        f"INSERT INTO export_leases (run_id, worker_id, host, renewed_at, expires_at) "
        f"VALUES (?, 'worker', 'host', {now}, {now}) ON CONFLICT (run_id) DO NOTHING"
    )
    database.run(lease, run)
    database.run(lease, run)
    renew = (
        f"UPDATE export_leases SET renewed_at = {now}, called_at = NULL WHERE run_id = ? RETURNING worker_id"
    )
    assert database.run(renew, run) == [("worker",)]
    database.run(
        f"UPDATE export_jobs SET status = 'processing', started_at = {now}, run_id = ? WHERE id = ?", run, job
    )
    if not database.is_postgres:
        database.run("PRAGMA foreign_keys = ON")
    database.run("DELETE FROM scheduled_exports WHERE id = ?", schedule)
    ((kept,),) = database.run("SELECT schedule_id FROM export_jobs WHERE id = ?", job)
    assert str(kept) == schedule
    # A library that maps rows to objects writes all columns.
    database.run("UPDATE export_jobs SET schedule_id = ?, progress_percent = 50 WHERE id = ?", kept, job)
    database.run(
        f"UPDATE export_jobs SET status = 'completed', completed_at = {now}, file_key = 'a.csv', "
        "file_name = 'a.csv', file_size = 1, row_count = 1, sha256 = ?, progress_percent = 100 WHERE id = ?",
        "0" * 64,
        job,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("REFERENCES scheduled_exports (id) ON DELETE SET NULL", 'REFERENCES "scheduled_exports"(id) on delete set null'),
        ("CONSTRAINT fk_export_jobs_schedule_id FOREIGN KEY(schedule_id)", 'FOREIGN KEY ("schedule_id")'),
        (", \n\tCONSTRAINT fk_export_jobs", ",CONSTRAINT fk_export_jobs"),
        ("scheduled_exports (id) ON DELETE SET NULL", "scheduled_exports DEFERRABLE"),
    ],
)  # fmt: skip
def test_a_foreign_key_of_sqlite_is_removed_or_the_migration_refused(
    sqlite_jobs_url: str, monkeypatch: pytest.MonkeyPatch, before: str, after: str
) -> None:
    """However it is spelt; SQLite quotes names of tables that are renamed, and tools write files anew."""
    _migrate_to("0023", sqlite_jobs_url, monkeypatch)
    with closing(Database(sqlite_jobs_url)) as database:
        ((version,),) = database.run("PRAGMA schema_version")
        database.run("PRAGMA writable_schema = ON")
        change = "UPDATE sqlite_master SET sql = replace(sql, ?, ?) WHERE name = 'export_jobs'"
        database.run(change, before, after)
        database.run(f"PRAGMA schema_version = {version + 1}")
        ((written,),) = database.run("SELECT sql FROM sqlite_master WHERE name = 'export_jobs'")
        assert after in written
    if "DEFERRABLE" in after:
        with pytest.raises(LedgerError, match=r"foreign key of export_jobs\.schedule_id cannot be removed"):
            migrate(sqlite_jobs_url)
        assert not is_current(sqlite_jobs_url)
    else:
        assert migrate(sqlite_jobs_url) == "brought up to date"
    with closing(Database(sqlite_jobs_url)) as database:
        assert len(database.run("PRAGMA foreign_key_list(export_jobs)")) == ("DEFERRABLE" in after)
        assert database.run("PRAGMA integrity_check") == [("ok",)]
        ((now,),) = database.run("SELECT sql FROM sqlite_master WHERE name = 'export_jobs'")
        assert ("DEFERRABLE" in now) is ("DEFERRABLE" in after)


def test_an_id_of_a_schedule_that_is_gone_cannot_be_taken_only_kept(database: Database) -> None:
    job, schedule = _request_of_before(database, "window")
    database.run("DELETE FROM scheduled_exports")
    database.run("UPDATE export_jobs SET schedule_id = ?, priority = 1 WHERE id = ?", schedule, job)
    other = database.insert()
    with pytest.raises(database.error, match="there is no schedule with this schedule_id"):
        database.run("UPDATE export_jobs SET schedule_id = ? WHERE id = ?", schedule, other)


def _columns(url: str) -> dict[str, dict[str, Any]]:
    engine = sa.create_engine(url)
    inspector = sa.inspect(engine)
    columns = {
        table: {column["name"]: column for column in inspector.get_columns(table)}
        for table in inspector.get_table_names()
    }
    engine.dispose()
    return columns


def test_a_migration_that_fails_leaves_nothing(url: str) -> None:
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE other (id integer)")
        connection.exec_driver_sql("CREATE INDEX ix_export_events_job_id ON other (id)")  # in the way
    with pytest.raises(LedgerError, match=r"ix_export_events_job_id.*already exists"):
        migrate(url)
    assert sa.inspect(engine).get_table_names() == ["other"]
    engine.dispose()


def test_tables_of_a_newer_version_are_left_alone(database: Database) -> None:
    ((version,),) = database.run(f"SELECT version_num FROM {VERSION_TABLE}")
    database.run(f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    try:
        with pytest.raises(LedgerError, match="perhaps of a newer one"):
            migrate(database.url)
    finally:
        database.run(f"UPDATE {VERSION_TABLE} SET version_num = '{version}'")


@pytest.mark.slow
def test_migrate_reports_the_state_of_the_tables(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = command.upgrade
    with monkeypatch.context() as older:
        older.setattr(command, "upgrade", lambda config, _: whole(config, "0010"))
        assert migrate(url) == "made"
    assert [migrate(url), migrate(url)] == ["brought up to date", "up to date"]


def test_triggers_that_somebody_removed_or_made_stop_no_migration(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _migrate_to("0025", url, monkeypatch)
    with closing(Database(url)) as database:
        if url.startswith("sqlite"):
            database.run("DROP TRIGGER export_jobs_hold_update")
        else:
            database.run("DROP TRIGGER export_jobs_hold_update ON export_jobs")
            database.run(
                "CREATE FUNCTION export_jobs_hold_truncate() RETURNS trigger LANGUAGE plpgsql "
                "AS $$ BEGIN RETURN NULL; END $$"
            )
            database.run(
                "CREATE TRIGGER export_jobs_hold_truncate BEFORE TRUNCATE ON export_jobs "
                "FOR EACH STATEMENT EXECUTE FUNCTION export_jobs_hold_truncate()"
            )
        assert migrate(url) == "brought up to date"
        id = database.insert()
        database.run("UPDATE export_jobs SET legal_hold = true WHERE id = ?", id)
        statement = "UPDATE export_jobs SET legal_hold = false, status = 'expired'"
        for refused in (
            [statement] if url.startswith("sqlite") else [statement, "TRUNCATE export_jobs CASCADE"]
        ):
            with pytest.raises(database.error, match="under legal hold"):
                database.run(refused)


def test_a_file_in_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(LedgerUnavailableError, match=f"there is no folder {tmp_path}/nowhere"):
        migrate(f"sqlite:///{tmp_path}/nowhere/jobs.db")


def test_the_error_for_missing_tables_names_the_command(url: str) -> None:
    with Ledger(url) as ledger, pytest.raises(LedgerError, match="run `export-pipeline migrate`"):
        ledger.claim(1)


def test_other_databases_and_wrong_urls_are_refused() -> None:
    with pytest.raises(LedgerError, match="names mysql; jobs can be kept in postgresql or sqlite"):
        Ledger("mysql://u:secret@h/d")
    with pytest.raises(LedgerError, match="must name a file"):
        Ledger("sqlite://")
    with pytest.raises(LedgerError, match="is not a database URL"):
        Ledger("jobs.db")


def test_the_error_for_a_database_that_is_down_hides_its_password(sqlite_jobs_url: str) -> None:
    with (
        Ledger("postgresql://app:secret@127.0.0.1:1/jobs") as ledger,
        pytest.raises(LedgerUnavailableError) as caught,
    ):
        ledger.find()
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def _described(engine: sa.Engine) -> dict[str, object]:
    """Everything that the database says of the ledger's tables, as text."""
    described: dict[str, object] = {}
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            rows = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE type <> 'trigger'")
            return {
                # Columns that were added later stand in the line of the column before them.
                name: sorted(
                    line.strip().rstrip(",") for line in re.split(r"\n|, (?=[a-z_]+ [A-Z]+)", sql or "")
                )
                for name, sql in rows
                if name != VERSION_TABLE and VERSION_TABLE not in name
            }
        columns = connection.exec_driver_sql(
            "SELECT table_name, column_name, ordinal_position, column_default, is_nullable, data_type "
            "FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> %s",
            (VERSION_TABLE,),
        )
        described |= {f"{row[0]}.{row[1]}": tuple(row) for row in columns}
        constraints = connection.exec_driver_sql(
            "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint "
            "WHERE connamespace = 'public'::regnamespace AND conrelid <> 0"
        )
        described |= {f"{row[0]} {row[1]}": row[2] for row in constraints if row[0] != VERSION_TABLE}
        indexes = connection.exec_driver_sql(
            "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'"
        )
        described |= {row[0]: row[1] for row in indexes if VERSION_TABLE not in row[0]}
        comments = connection.exec_driver_sql(
            "SELECT objoid::regclass::text, objsubid, description FROM pg_description "
            "WHERE classoid = 'pg_class'::regclass AND objoid IN "
            "(SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace)"
        )
        described |= {f"{row[0]} #{row[1]}": row[2] for row in comments}
    return described


@pytest.mark.slow
@pytest.mark.parametrize("table", ["export_jobs", "export_events", "scheduled_exports"])
def test_a_table_of_the_application_with_our_name_stays_and_the_way_out_is_named(
    table: str, postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for url, way_out in (
        (f"sqlite:///{tmp_path}/{table}.db", "EXPORT_JOBS_URL=sqlite:////path/of/a/file/of/its/own.db"),
        (postgres_url, "EXPORT_JOBS_SCHEMA=export_pipeline"),
    ):
        engine = sa.create_engine(url)
        with engine.begin() as connection:
            connection.execute(sa.text(f"CREATE TABLE {table} (id integer, status text)"))
        with pytest.raises(LedgerError, match=f"has a table {table} already") as refused:
            migrate(url)
        assert way_out in str(refused.value)
        assert not is_current(url)
        assert sa.inspect(engine).get_table_names() == [table]
        engine.dispose()
    monkeypatch.setenv("EXPORT_SOURCE_URL", postgres_url)
    monkeypatch.setenv("EXPORT_JOBS_SCHEMA", "export_pipeline")
    ledger_url = load_settings().jobs_url
    assert migrate(ledger_url) == "made"
    assert migrate(ledger_url) == "up to date"
    with Ledger(ledger_url) as ledger:
        job = ledger.request("takeoff", "csv")
        assert ledger.canceled(job.id).id == job.id
        assert [event.kind for event in ledger.events(job.id)] == ["requested", "canceled"]
    for explicit in ("postgres://u:p@h/d", "postgresql://u:p@h/d?options=-cstatement_timeout%3D9"):
        monkeypatch.setenv("EXPORT_JOBS_URL", explicit)
        assert "search_path%3Dexport_pipeline" in load_settings().jobs_url


def test_the_error_for_a_file_that_is_gone_does_not_only_advise_an_empty_one(tmp_path: Path) -> None:
    with (
        Ledger(f"sqlite:///{tmp_path}/jobs.db") as ledger,
        pytest.raises(NoLedgerError, match="If there was one, mount its disk or restore it; if not, run"),
    ):
        ledger.claim(1)
    assert not (tmp_path / "jobs.db").exists()


def test_a_file_that_is_no_database_is_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / "jobs.db").write_bytes(b"no database" * 1_000)
    with pytest.raises(
        LedgerError, match=f"{tmp_path}/jobs.db is not a sound SQLite file: file is not a database"
    ):
        migrate(f"sqlite:///{tmp_path}/jobs.db")
