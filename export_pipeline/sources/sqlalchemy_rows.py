"""Reads other databases through SQLAlchemy's streamed rows; for SQLite one read transaction stays open."""

from __future__ import annotations

import sqlite3
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from export_pipeline.core.columns import Column
from export_pipeline.core.streams import prefetch
from export_pipeline.database_faults import Fault, classify_fault
from export_pipeline.database_url import openable
from export_pipeline.sources.arrow_types import Damaged, ignore
from export_pipeline.sources.casts import BYTE_ORDER, MYSQL, Query, label_columns
from export_pipeline.sources.database_errors import describe_error, drop_after_error, translate_errors
from export_pipeline.sources.database_types import Stored, parse_declared_type
from export_pipeline.sources.python_rows import build_batch
from export_pipeline.sources.sessions import prepare_mysql
from export_pipeline.sources.snapshot import Snapshot, SourceError

_BATCH_ROWS = 2048  # few, because a row's notes may be long
_BATCH_BYTES = 2 << 20
"""Size of the texts of a batch from which on it is full."""
_FETCHED_ROWS = 32
"""Rows that are fetched at a time: those of a batch may be so many more than fill it."""
_BATCH_CELLS = 100_000
"""Maximum number of Python objects of a batch, which take many times the room of their Arrow cells."""


@contextmanager
def open_database(url: sa.URL, statement_timeout: float) -> Iterator[Snapshot]:
    """See `open_snapshot`."""
    is_sqlite = url.get_backend_name() == "sqlite"
    if url.get_backend_name() in MYSQL and url.get_driver_name() != "mariadbconnector":
        url = url.update_query_dict({"charset": "utf8mb4"})
    try:
        engine = sa.create_engine(
            openable(url, read_only=True) if is_sqlite else url, poolclass=sa.NullPool, hide_parameters=True
        )
        if engine.dialect.name in MYSQL:
            # Must run before SQLAlchemy asks the server how identifiers are quoted.
            sa.event.listen(engine, "connect", _prepare_mysql, insert=True)
    except (sa.exc.NoSuchModuleError, ModuleNotFoundError) as error:
        raise SourceError(
            f"EXPORT_SOURCE_URL needs a database driver that is not installed: {error}"
        ) from error
    except (sa.exc.ArgumentError, ValueError) as error:  # sqlite://file.db: the file is in the host's place
        raise SourceError(f"EXPORT_SOURCE_URL is not a URL that its driver knows: {error}") from None
    try:
        with _connect(engine, url) as connection, drop_after_error(connection):
            snapshot = SqlAlchemySnapshot(connection)
            if is_sqlite:
                snapshot.prepare_sqlite(statement_timeout)
            else:
                connection = connection.execution_options(isolation_level="REPEATABLE READ")
                for command in _session(connection.dialect, statement_timeout):
                    connection.exec_driver_sql(command)
            yield snapshot
    except sa.exc.DBAPIError as error:
        raise describe_error(error.orig or error, url) from None
    except sqlite3.Error as error:
        raise describe_error(error, url) from None
    finally:
        engine.dispose()


def _connect(engine: sa.Engine, url: sa.URL) -> sa.Connection:
    try:
        return engine.connect()
    except (OSError, TypeError, ValueError) as error:  # a driver's own, before it calls the server
        if classify_fault(error) is Fault.LOST:
            raise describe_error(error, url) from None
        raise SourceError(
            "EXPORT_SOURCE_URL: its database driver refuses one of the options after the question mark, or a "
            f"file that one of them names: {error}"
        ) from None


def _session(dialect: sa.Dialect, statement_timeout: float) -> list[str]:
    """Return the statements to run before the first query; empty for servers other than MySQL and MariaDB."""
    if dialect.name not in MYSQL:
        return []
    limit = f"max_statement_time = {statement_timeout}"
    if not getattr(dialect, "is_mariadb", False):
        limit = f"max_execution_time = {round(statement_timeout * 1000)}"
    return [f"SET {limit}", "SET SESSION TRANSACTION READ ONLY"]


def _prepare_mysql(connection: Any, record: Any) -> None:
    def execute(statement: str) -> list[dict[str, Any]]:
        cursor = connection.cursor()
        try:
            cursor.execute(statement)
            names = [column[0] for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()] if names else []
        finally:
            cursor.close()

    prepare_mysql(execute)


def _escaping(value: bytes) -> str:
    """Decode a string of SQLite; bytes that are not UTF-8 become surrogates."""
    return value.decode("utf-8", "surrogateescape")


def _lower(text: Any) -> Any:
    """Return a string in lower case, in all alphabets: SQLite's own lower() handles only ASCII."""
    return text.lower() if isinstance(text, str) else text


def _type_name(type_: sa.types.TypeEngine[Any], dialect: sa.Dialect) -> str:
    """Return a reflected type's declaration; empty if SQLAlchemy cannot render it."""
    with suppress(sa.exc.CompileError):
        name = type_.compile(dialect=dialect)
        zoned = getattr(type_, "timezone", False) and "TIME ZONE" not in name
        return f"{name} with time zone" if zoned else name
    return ""


def _fill(
    fetched: Iterator[Sequence[sa.Row[Any]]], columns: Sequence[Column], most: int
) -> Iterator[list[sa.Row[Any]]]:
    """Yield the rows of batches, each full with more than `most` rows or with texts of `_BATCH_BYTES`."""
    texts = [itemgetter(index) for index, column in enumerate(columns) if column.kind.is_text]
    rows: list[sa.Row[Any]] = []
    size = 0
    for more in fetched:
        rows += more
        for cell in texts:
            try:
                size += sum(map(len, filter(None, map(cell, more))))
            except TypeError:  # SQLite stores any value in any column
                size += sum(len(str(cell(row))) for row in more)
        if len(rows) > most or size >= _BATCH_BYTES:
            yield rows
            rows, size = [], 0
    if rows:
        yield rows


class SqlAlchemySnapshot(Snapshot):
    """An open transaction of a SQLAlchemy connection."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self._interrupt: Callable[[], None] | None = None
        self.opened_at = datetime.now(UTC)
        self.dialect = connection.dialect.name
        self.byte_order = BYTE_ORDER.get(self.dialect, "C")

    def has_table(self, name: str) -> bool:
        inspector = sa.inspect(self._connection)
        return name in {*inspector.get_table_names(), *inspector.get_view_names()}

    def fields(self, select: Query) -> list[tuple[str, Stored]]:
        with translate_errors():
            names = list(self._connection.execute(select.limit(0)).keys())
        return [(name, parse_declared_type("")) for name in names]

    def tables(self, schema: str | None = None) -> list[str]:
        inspector = sa.inspect(self._connection)
        with suppress(sa.exc.DBAPIError):  # the schema does not exist
            return [*inspector.get_table_names(schema), *inspector.get_view_names(schema)]
        return []

    def table_fields(self, name: str, schema: str | None = None) -> dict[str, Stored]:
        with translate_errors(), warnings.catch_warnings():
            warnings.simplefilter("ignore", sa.exc.SAWarning)  # of types that SQLAlchemy has no class for
            fields = sa.inspect(self._connection).get_columns(name, schema)
        dialect = self._connection.dialect
        return {column["name"]: parse_declared_type(_type_name(column["type"], dialect)) for column in fields}

    def unique_keys(self, name: str, schema: str | None = None) -> list[frozenset[str]]:
        inspector = sa.inspect(self._connection)
        with translate_errors(), warnings.catch_warnings():
            warnings.simplefilter("ignore", sa.exc.SAWarning)
            keys = [inspector.get_pk_constraint(name, schema)["constrained_columns"]]
            keys += [key["column_names"] for key in inspector.get_unique_constraints(name, schema)]
            for index in inspector.get_indexes(name, schema):
                partial = any(option.endswith("_where") for option in index.get("dialect_options", {}))
                if index["unique"] and not partial and None not in index["column_names"]:
                    keys.append([str(column) for column in index["column_names"]])
        return [frozenset(key) for key in keys if key]

    def prepare_sqlite(self, statement_timeout: float) -> None:
        raw = self._connection.connection.driver_connection
        assert isinstance(raw, sqlite3.Connection)
        self._interrupt = raw.interrupt
        raw.text_factory = _escaping
        raw.create_function("export_lower", 1, _lower, deterministic=True)
        if statement_timeout:
            self._timeout, self._deadline = statement_timeout, float("inf")
            raw.set_progress_handler(lambda: time.monotonic() > self._deadline, 100_000)
        # A first read takes the lock that hides other writers' commits from this transaction.
        raw.execute("BEGIN")
        raw.execute("SELECT count(*) FROM sqlite_master").fetchone()

    def batches(
        self, select: Query, columns: Sequence[Column], damaged: Damaged = ignore
    ) -> Iterator[pa.RecordBatch]:
        stream = self._batches(select, columns, damaged)
        # SQLite runs in this process, and a thread that waits for it cannot handle signals.
        return prefetch(stream, interrupt=self._interrupt) if self._interrupt else stream

    def _batches(
        self, select: Query, columns: Sequence[Column], damaged: Damaged
    ) -> Iterator[pa.RecordBatch]:
        if hasattr(self, "_deadline"):
            self._deadline = time.monotonic() + self._timeout
        try:
            count = max(1, min(_BATCH_ROWS, _BATCH_CELLS // len(columns)))
            select = label_columns(select, columns)
            fetched = min(count, _FETCHED_ROWS)
            result = self._connection.execution_options(yield_per=fetched).execute(select)
            for rows in _fill(result.partitions(fetched), columns, count - fetched):
                yield build_batch(rows, columns, damaged)
        except sa.exc.DBAPIError as error:
            raise describe_error(error.orig or error) from None
        except (sqlite3.Error, pa.ArrowException, ValueError, TypeError) as error:
            raise describe_error(error) from None
