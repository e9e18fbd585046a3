"""Creates the ledger's tables, or migrates them to this version."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa

from export_pipeline.database_url import parse_database_url, sqlite_file
from export_pipeline.jobs.database import WAIT_SECONDS, open_engine, opened_engine, transaction
from export_pipeline.jobs.errors import LedgerError, LedgerUnavailableError
from export_pipeline.jobs.tables import metadata

VERSION_TABLE = "export_pipeline_version"
"""Differs from Alembic's default name, as the application may keep its own migrations in this database."""

_SCRIPTS = Path(__file__).parent / "migrations"
_LOCK = 0x6578_706F_7274  # key of an advisory lock that no other code uses


Migrated = Literal["made", "brought up to date", "up to date"]
"""Result of a migration: tables created, tables migrated, or nothing to do."""


def migrate(url: str) -> Migrated:
    """Create or migrate the ledger at a SQLAlchemy URL, in one transaction. Does nothing if it is current.

    Concurrent calls wait for each other.

    Raises:
        LedgerError: the URL is not of PostgreSQL or SQLite, or the database rejects a statement.
        LedgerUnavailableError: the database cannot be reached.
    """
    with opened_engine(url) as engine:
        if engine.dialect.name == "sqlite":
            enable_wal(engine)
        with transaction(engine, write=True) as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
                _create_schema(connection)
            was = _version(connection)
            if was is None:
                _check_table_names(connection)
            upgrade(connection)
            now = _version(connection)
    return "made" if was is None else "up to date" if was == now else "brought up to date"


def _create_schema(connection: sa.Connection) -> None:
    """Create the schema that EXPORT_JOBS_SCHEMA names, unless it exists."""
    if connection.scalar(sa.text("SELECT current_schema()")) is None:
        name = str(connection.scalar(sa.text("SHOW search_path"))).partition(",")[0].strip().strip('"')
        connection.execute(sa.schema.CreateSchema(name))


def _check_table_names(connection: sa.Connection) -> None:
    """Raise LedgerError if a table of the application has a name that the ledger needs."""
    there = sa.inspect(connection)
    taken = sorted({*there.get_table_names(), *there.get_view_names()} & set(metadata.tables))
    if not taken:
        return
    way_out = "EXPORT_JOBS_URL=sqlite:////path/of/a/file/of/its/own.db"
    if connection.dialect.name == "postgresql":
        way_out = "EXPORT_JOBS_SCHEMA=export_pipeline"
    raise LedgerError(
        f"The application has a table {taken[0]} already, which the ledger needs for its own; set {way_out} "
        "for all commands and services, then run `export-pipeline migrate` again."
    )


def enable_wal(engine: sa.Engine) -> None:
    """Switch a SQLite file to WAL mode, so that readers and the writer do not block each other.

    An export reads the application's file for a long time. Meanwhile it writes its progress to the ledger,
    which may be in the same file. The mode is stored in the file.
    """
    try:
        with engine.connect() as connection:
            _switch(connection.connection.driver_connection)
    except sa.exc.OperationalError as error:
        folder = Path(str(engine.url.database)).parent
        why = error.orig if folder.is_dir() else f"there is no folder {folder}"
        raise LedgerUnavailableError(f"{engine.url.database} cannot be opened: {why}.") from None
    except sqlite3.OperationalError as error:
        raise LedgerUnavailableError(f"{engine.url.database} cannot be prepared: {error}") from None
    except (sqlite3.DatabaseError, sa.exc.DatabaseError) as error:
        why = getattr(error, "orig", error)
        raise LedgerError(f"{engine.url.database} is not a sound SQLite file: {why}.") from None


def _switch(raw: Any) -> None:
    """Set WAL mode. Retry while the file is locked, as SQLite's own timeout does not apply here."""
    until = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            raw.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(0.05)


def is_current(url: str) -> bool:
    """Return whether the ledger's tables exist and have this version. Changes nothing.

    Raises:
        LedgerError: the URL is not of PostgreSQL or SQLite, or the database rejects a statement.
        LedgerUnavailableError: the database cannot be reached.
    """
    from alembic.script import ScriptDirectory

    engine = open_engine(url)
    file = sqlite_file(parse_database_url(url))
    if file is not None and not file.exists():
        return False  # connecting would create the file
    try:
        with transaction(engine, write=False) as connection:
            there = _version(connection)
    finally:
        engine.dispose()
    return there == ScriptDirectory(str(_SCRIPTS)).get_current_head()


def _version(connection: sa.Connection) -> str | None:
    """Return the version of the ledger's tables; None if there are none."""
    from alembic.runtime.migration import MigrationContext

    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    return context.get_current_revision()


def upgrade(connection: sa.Connection) -> None:
    """Run the missing migrations within the connection's transaction."""
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise LedgerError(
            f"The tables of export jobs are not of this version, but perhaps of a newer one: {error}"
        ) from error
