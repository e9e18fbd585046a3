"""Connections to the ledger's database, and its errors as messages for people."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from export_pipeline.database_faults import Fault, classify_fault, code_of, message_without_values
from export_pipeline.database_url import openable, parse_database_url, sqlite_file
from export_pipeline.jobs.errors import LedgerError, LedgerUnavailableError, NoLedgerError
from export_pipeline.jobs.storable_text import parse_json
from export_pipeline.redaction import remember_credentials

WAIT_SECONDS = 30  # for another writer of SQLite
_CONNECT = {
    "application_name": "export_pipeline",
    "connect_timeout": 10,  # seconds
    "tcp_user_timeout": 10_000,  # milliseconds, for an answer of the network alone
}


def open_engine(url: str, connections: int = 2) -> sa.Engine:
    """Return an engine for a SQLAlchemy URL of PostgreSQL or SQLite. It connects on first use.

    Args:
        connections: Connections to PostgreSQL that are kept; more are opened at need, and closed at once.

    Raises:
        LedgerError: the URL is malformed, or names another kind of database.
    """
    remember_credentials(url)
    try:
        parsed = parse_database_url(url)
    except sa.exc.ArgumentError:
        raise LedgerError(
            "EXPORT_JOBS_URL is not a database URL such as postgresql://user:password@host:5432/database"
        ) from None
    backend = parsed.get_backend_name()
    if backend == "postgresql":
        if parsed.drivername == "postgresql":
            parsed = parsed.set(drivername="postgresql+psycopg2")
        return sa.create_engine(
            parsed,
            connect_args={name: value for name, value in _CONNECT.items() if name not in parsed.query},
            isolation_level="READ COMMITTED",
            pool_pre_ping=True,
            pool_size=connections,
            hide_parameters=True,
            json_deserializer=parse_json,
        )
    if backend == "sqlite":
        return _sqlite_engine(parsed)
    raise NoLedgerError(f"EXPORT_JOBS_URL names {backend}; jobs can be kept in postgresql or sqlite")


@contextmanager
def opened_engine(url: str) -> Iterator[sa.Engine]:
    """Yield an engine as `open_engine` makes it, and close its connections afterwards."""
    engine = open_engine(url)
    try:
        yield engine
    finally:
        engine.dispose()


def _sqlite_engine(url: sa.URL) -> sa.Engine:
    if sqlite_file(url) is None:
        raise NoLedgerError("EXPORT_JOBS_URL must name a file, e.g. sqlite:////path/to/file.db")
    waiting = {"timeout": WAIT_SECONDS}
    engine = sa.create_engine(
        openable(url),
        poolclass=sa.NullPool,
        connect_args=waiting,
        json_deserializer=parse_json,
        hide_parameters=True,
    )

    @sa.event.listens_for(engine, "connect")
    def _connected(raw: Any, record: Any) -> None:
        raw.isolation_level = None  # otherwise the driver begins and commits by its own rules
        raw.text_factory = _text_of
        raw.execute("PRAGMA foreign_keys = ON")

    @sa.event.listens_for(engine, "begin")
    def _begun(connection: sa.Connection) -> None:
        # A writer takes the lock first: of two readers that both start to write, SQLite rejects both.
        write = connection.get_execution_options().get("write")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine


def _text_of(raw: bytes) -> str:
    """Decode a SQLite string. SQLite stores any bytes as text; one such row must not break every query."""
    return raw.decode("utf-8", "replace")


@contextmanager
def transaction(engine: sa.Engine, *, write: bool) -> Iterator[sa.Connection]:
    """Yield a connection in a transaction: committed when the block ends, rolled back if it raises.

    Raises:
        LedgerUnavailableError: the database cannot be reached, or is locked for too long.
        LedgerError: the database rejects a statement, or the SQLite file does not exist; it is not created.
    """
    if engine.dialect.name == "sqlite" and not Path(str(engine.url.database)).exists():
        raise NoLedgerError(
            f"There is no file {engine.url.database} to keep export jobs in. If there was one, mount its "
            "disk or restore it; if not, run `export-pipeline migrate`, which makes an empty one."
        )
    try:
        with engine.connect() as connection:
            connection = connection.execution_options(write=write)
            with connection.begin():
                yield connection
    except sa.exc.DBAPIError as error:
        raise _translate_error(error, engine.url) from None
    except sa.exc.StatementError as error:
        raise LedgerError(f"A value cannot be kept in the ledger: {error.orig}") from None


def insert_new(connection: sa.Connection, table: sa.Table, *unique: str) -> Any:
    """Return an INSERT in the database's dialect that skips a row whose unique columns exist already."""
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    return insert(table).on_conflict_do_nothing(index_elements=unique)


def explain_refusal(error: sa.exc.DBAPIError) -> str:
    """Return why the database refuses a statement, without values, as the message is kept in logs."""
    cause = error.orig or error
    message = message_without_values(cause, of_ledger=True)
    return message or f"{code_of(cause)}; the message may quote a value, and is not shown"


def _translate_error(error: sa.exc.DBAPIError, url: sa.URL) -> LedgerError:
    reason = explain_refusal(error)
    where = url.render_as_string(hide_password=True)
    fault = Fault.LOST if error.connection_invalidated else classify_fault(error.orig or error)
    if fault is Fault.MISSING:
        return NoLedgerError(
            f"The tables of export jobs in {where} are missing or old ({reason}); "
            "run `export-pipeline migrate`."
        )
    if fault in (Fault.LOST, Fault.BUSY, Fault.READ_ONLY):
        return LedgerUnavailableError(f"The database of export jobs {where} does not answer: {reason}")
    return LedgerError(f"The database of export jobs {where} refuses: {reason}")
