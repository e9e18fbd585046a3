"""One read-only, consistent view of an application's database, read as Arrow batches.

PostgreSQL is read over ADBC (binary COPY, no Python object per cell) inside one REPEATABLE READ READ ONLY
transaction. Every other SQLAlchemy dialect is read through SQLAlchemy's streamed rows; SQLite keeps one
read transaction open. Either way a select gives batches whose fields are exactly the columns asked for.
"""

from __future__ import annotations

import re
import sqlite3
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, TypeAlias

import pyarrow as pa
import sqlalchemy as sa
import sqlalchemy.ext.compiler
from sqlalchemy.dialects import postgresql

from export_pipeline.model.columns import Column, Kind
from export_pipeline.sources.arrow_types import Damaged, from_rows, ignore, to_kind

Query: TypeAlias = sa.Select[*tuple[Any, ...]]
"""A select of any columns."""

BATCH_BYTES = 2 * 1024 * 1024
BATCH_ROWS = 2048  # few, as a row's notes may be long


class SourceError(Exception):
    """The source database cannot be read. The message says what failed and what to do about it."""


class SourceUnavailableError(SourceError):
    """The source database cannot be reached now; trying again later may help."""


class Snapshot(ABC):
    """An open snapshot. Every read sees the database as it was when the snapshot was opened.

    Attributes:
        opened_at: The moment of the snapshot, UTC.
        byte_order: The collation of this dialect that orders texts by code point.
    """

    opened_at: datetime
    byte_order: str

    @abstractmethod
    def batches(
        self, select: Query, columns: Sequence[Column], damaged: Damaged = ignore
    ) -> Iterator[pa.RecordBatch]:
        """Run a select whose i-th expression belongs to the i-th column; yield its rows in batches.

        Args:
            select: What to read.
            columns: What its expressions are read as.
            damaged: Told of cells that could not be read as they are stored.

        Raises:
            SourceError: the query failed, timed out, or a cell does not fit its column's kind.
        """

    @abstractmethod
    def has_table(self, name: str) -> bool:
        """Whether a table or view of this name can be read without naming its schema."""

    def rows(
        self, select: Query, columns: Sequence[Column], damaged: Damaged = ignore
    ) -> list[dict[str, Any]]:
        """The rows of a small select as dictionaries by column name."""
        return [row for batch in self.batches(select, columns, damaged) for row in batch.to_pylist()]


@contextmanager
def open_snapshot(url: str, *, statement_timeout: float = 0) -> Iterator[Snapshot]:
    """Open a read-only snapshot of the database at a SQLAlchemy URL.

    Args:
        url: e.g. `postgresql://user:secret@host/app` or `sqlite:///app.db`.
        statement_timeout: Seconds one query may take before it is ended; 0 for no limit.

    Raises:
        SourceError: the URL is malformed, the driver is missing or the database cannot be reached.
    """
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError:
        raise SourceError(
            "EXPORT_SOURCE_URL is not a database URL; it should look like "
            "postgresql://user:password@host:5432/database or sqlite:////path/to/file.db"
        ) from None
    opener = _open_postgres if parsed.get_backend_name() == "postgresql" else _open_sqlalchemy
    with opener(parsed, statement_timeout) as snapshot:
        yield snapshot


# --- PostgreSQL over ADBC ---------------------------------------------------------------------------


@contextmanager
def _open_postgres(url: sa.URL, statement_timeout: float) -> Iterator[Snapshot]:
    import adbc_driver_manager as adbc  # the light layer: its dbapi would import pandas
    import adbc_driver_postgresql

    query = {"application_name": "export_pipeline", "connect_timeout": "10"} | dict(url.query)
    uri = url.set(drivername="postgresql", query=query).render_as_string(hide_password=False)
    address, _, parameters = uri.partition("?")
    uri = f"{address}?{parameters.replace('+', '%20')}"  # libpq knows no + for a space
    try:
        with (
            adbc.AdbcDatabase(driver=adbc_driver_postgresql._driver_path(), uri=uri) as database,
            adbc.AdbcConnection(database) as connection,
        ):
            snapshot = _PostgresSnapshot(adbc, connection)
            snapshot.command("BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            snapshot.command(f"SET LOCAL statement_timeout = {int(statement_timeout * 1000)}")
            snapshot.command("SET LOCAL timezone = 'UTC'")
            snapshot.command("SELECT 1")  # the snapshot is taken by the first query, not by BEGIN
            try:
                yield snapshot
            finally:
                with suppress(SourceError):
                    snapshot.command("ROLLBACK")
    except adbc.Error as error:
        raise _readable(error, url) from error


class _PostgresSnapshot(Snapshot):
    byte_order = "C"

    def __init__(self, adbc: Any, connection: Any) -> None:
        self._adbc, self._connection = adbc, connection
        self.opened_at = datetime.now(UTC)

    def has_table(self, name: str) -> bool:
        found = sa.select(sa.func.to_regclass(name).is_not(None))
        (row,) = self.rows(found, [Column("found", "Found", Kind.BOOLEAN)])
        return bool(row["found"])

    def command(self, sql: str) -> None:
        with self._adbc.AdbcStatement(self._connection) as statement:
            statement.set_sql_query(sql)
            try:
                statement.execute_update()
            except self._adbc.Error as error:
                raise _readable(error) from error

    def batches(
        self, select: Query, columns: Sequence[Column], damaged: Damaged = ignore
    ) -> Iterator[pa.RecordBatch]:
        sql = literal_sql(_labelled(select, columns))
        try:
            with self._adbc.AdbcStatement(self._connection) as statement:
                statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": str(BATCH_BYTES)})
                statement.set_sql_query(sql)
                handle, _ = statement.execute_query()
                for batch in pa.RecordBatchReader._import_from_c(handle.address):
                    if batch.num_rows:
                        yield to_kind(batch, columns, damaged)
        except (self._adbc.Error, pa.ArrowException, OSError) as error:
            raise _readable(error) from error


def literal_sql(select: Query) -> str:
    """A select as PostgreSQL text with its values in it, rendered by SQLAlchemy's typed literals.

    ADBC streams only statements without parameters. Only numbers, booleans, times and quoted texts can be
    rendered; a value of any other type raises, so nothing reaches the text unescaped. Backslashes are plain
    characters (`standard_conforming_strings`, PostgreSQL's default, is what the rendering relies on), and
    NUL, which no PostgreSQL text can hold, is refused.

    Raises:
        SourceError: a value has no literal form.
    """
    dialect = postgresql.dialect(paramstyle="named")  # type: ignore[no-untyped-call]
    try:
        compiled = select.compile(dialect=dialect, compile_kwargs={"literal_binds": True})
    except sa.exc.CompileError as error:
        raise SourceError(f"A filter's value cannot be written into the query: {error}") from error
    text = str(compiled)
    if "\x00" in text:
        raise SourceError("A filter's value holds a NUL character, which no PostgreSQL text can hold.")
    return text


# --- any other dialect over SQLAlchemy --------------------------------------------------------------


@contextmanager
def _open_sqlalchemy(url: sa.URL, statement_timeout: float) -> Iterator[Snapshot]:
    is_sqlite = url.get_backend_name() == "sqlite"
    try:
        opened = _read_only_sqlite(url) if is_sqlite else url
        engine = sa.create_engine(opened, poolclass=sa.NullPool)
    except (sa.exc.NoSuchModuleError, ModuleNotFoundError) as error:
        raise SourceError(
            f"EXPORT_SOURCE_URL needs a database driver that is not installed: {error}"
        ) from error
    try:
        with engine.connect() as connection:
            snapshot = _SqlAlchemySnapshot(connection)
            if is_sqlite:
                snapshot.prepare_sqlite(statement_timeout)
            else:
                connection = connection.execution_options(isolation_level="REPEATABLE READ")
            yield snapshot
    except sa.exc.DBAPIError as error:
        raise _readable(error.orig or error, url) from error
    finally:
        engine.dispose()


def _escaping(value: bytes) -> str:
    """A text of SQLite, which need not be UTF-8; bytes that are not become surrogates."""
    return value.decode("utf-8", "surrogateescape")


def _read_only_sqlite(url: sa.URL) -> sa.URL:
    """The same file, opened so that SQLite itself refuses a write and never creates the file."""
    if not url.database or url.database == ":memory:" or "uri" in url.query:
        return url
    return url.set(database=f"file:{url.database}", query={**url.query, "mode": "ro", "uri": "true"})


class _SqlAlchemySnapshot(Snapshot):
    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self.opened_at = datetime.now(UTC)
        self.byte_order = {"sqlite": "BINARY", "mysql": "utf8mb4_bin"}.get(connection.dialect.name, "C")

    def has_table(self, name: str) -> bool:
        inspector = sa.inspect(self._connection)
        return name in {*inspector.get_table_names(), *inspector.get_view_names()}

    def prepare_sqlite(self, statement_timeout: float) -> None:
        raw = self._connection.connection.driver_connection
        assert isinstance(raw, sqlite3.Connection)
        raw.text_factory = _escaping
        if statement_timeout:
            self._timeout, self._deadline = statement_timeout, float("inf")
            raw.set_progress_handler(lambda: time.monotonic() > self._deadline, 100_000)
        # A first read takes the lock that keeps writers' commits out of this transaction.
        raw.execute("BEGIN")
        raw.execute("SELECT count(*) FROM sqlite_master").fetchone()

    def batches(
        self, select: Query, columns: Sequence[Column], damaged: Damaged = ignore
    ) -> Iterator[pa.RecordBatch]:
        if hasattr(self, "_deadline"):
            self._deadline = time.monotonic() + self._timeout
        try:
            result = self._connection.execution_options(yield_per=BATCH_ROWS).execute(
                _labelled(select, columns)
            )
            for rows in result.partitions(BATCH_ROWS):
                yield from_rows(rows, columns, damaged)
        except sa.exc.DBAPIError as error:
            raise _readable(error.orig or error) from error
        except (sqlite3.Error, pa.ArrowException, ValueError, TypeError) as error:
            raise _readable(error) from error


# --- shared -----------------------------------------------------------------------------------------


def _labelled(select: Query, columns: Sequence[Column]) -> Query:
    """The select with its expressions cast to the columns' kinds and named as they are."""
    expressions = list(select.selected_columns)
    if len(expressions) != len(columns):
        raise ValueError(f"{len(expressions)} expressions for {len(columns)} columns")
    return select.with_only_columns(
        *(_cast(e, c).label(c.name) for e, c in zip(expressions, columns, strict=True)),
        maintain_column_froms=True,
    )


def _cast(expression: sa.ColumnElement[Any], column: Column) -> sa.ColumnElement[Any]:
    wanted = column.arrow_type
    if pa.types.is_string(wanted):
        return sa.cast(expression, sa.Text)
    if pa.types.is_floating(wanted):
        return _Float(expression)
    if pa.types.is_integer(wanted):
        return _Integer(expression)
    if pa.types.is_timestamp(wanted) or pa.types.is_date(wanted):
        return _Moment(expression)
    if pa.types.is_decimal(wanted):
        return sa.cast(expression, sa.Text)
    # As stored: SQLAlchemy would take the text 'false' in a SQLite column for true.
    return sa.type_coerce(expression, sa.types.NullType())


class _Float(sa.sql.functions.GenericFunction[Any]):
    """A double. SQLite's own value, whatever it is: its CAST would make 0 of a text that is no number."""

    inherit_cache = True
    name = "export_float"
    type = sa.Double()


class _Integer(sa.sql.functions.GenericFunction[Any]):
    """A 64-bit integer; of SQLite the value as it is, as for `_Float`."""

    inherit_cache = True
    name = "export_integer"
    type = sa.BigInteger()


@sa.ext.compiler.compiles(_Float)
def _float_cast(element: _Float, compiler: Any, **options: Any) -> str:
    return f"CAST({compiler.process(element.clauses, **options)} AS DOUBLE PRECISION)"


@sa.ext.compiler.compiles(_Integer)
def _integer_cast(element: _Integer, compiler: Any, **options: Any) -> str:
    return f"CAST({compiler.process(element.clauses, **options)} AS BIGINT)"


@sa.ext.compiler.compiles(_Float, "sqlite")
@sa.ext.compiler.compiles(_Integer, "sqlite")
def _number_in_sqlite(element: Any, compiler: Any, **options: Any) -> str:
    return str(compiler.process(element.clauses, **options))


class _Moment(sa.sql.functions.GenericFunction[Any]):
    """A time as the reader of its dialect takes it: PostgreSQL's own type, elsewhere the stored text."""

    inherit_cache = True
    name = "export_moment"
    type = sa.Text()


@sa.ext.compiler.compiles(_Moment)
def _moment_as_text(element: _Moment, compiler: Any, **options: Any) -> str:
    return f"CAST({compiler.process(element.clauses, **options)} AS VARCHAR)"


@sa.ext.compiler.compiles(_Moment, "postgresql")
def _moment_in_postgres(element: _Moment, compiler: Any, **options: Any) -> str:
    return str(compiler.process(element.clauses, **options))


@sa.ext.compiler.compiles(_Moment, "sqlite")
def _moment_in_sqlite(element: _Moment, compiler: Any, **options: Any) -> str:
    return f"CAST({compiler.process(element.clauses, **options)} AS TEXT)"


_UNREACHABLE = ("connect", "unable to open database", "database is locked", "terminating", "starting up")
_PASSWORD = re.compile(r"(://[^:/@\s]*:)[^@\s]*@")


def _readable(error: BaseException, url: sa.URL | None = None) -> SourceError:
    """A database's error as one line without secrets, with what to do where that is known."""
    text = _PASSWORD.sub(r"\1***@", " ".join(str(error).split()))
    where = f" ({url.render_as_string(hide_password=True)})" if url is not None else ""
    lowered = text.lower()
    if "statement timeout" in lowered or "interrupted" in lowered:
        advice = (
            "The query took longer than EXPORT_STATEMENT_TIMEOUT_SECONDS; raise it or export less at once."
        )
    elif "password authentication" in lowered:
        advice = "The user or password in EXPORT_SOURCE_URL is wrong."
    elif any(sign in lowered for sign in _UNREACHABLE):
        advice = "The source database cannot be reached: check EXPORT_SOURCE_URL and that it is running."
        return SourceUnavailableError(f"{advice}{where} Details: {text[:500]}")
    elif "no such table" in lowered or "does not exist" in lowered or "no such column" in lowered:
        advice = (
            "The source database lacks a table or column this export needs; was the application migrated?"
        )
    else:
        advice = "Reading the source database failed."
    return SourceError(f"{advice}{where} Details: {text[:500]}")
