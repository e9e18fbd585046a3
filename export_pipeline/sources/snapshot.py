"""One read-only, consistent view of an application's database, read as Arrow batches.

PostgreSQL is read over ADBC (binary COPY, no Python object per cell) inside one REPEATABLE READ READ ONLY
transaction. Every other SQLAlchemy dialect is read through SQLAlchemy's streamed rows; SQLite keeps one
read transaction open. Either way a select gives batches whose fields are exactly the columns asked for.
"""

from __future__ import annotations

import re
import sqlite3
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from export_pipeline.model.columns import Column, Kind
from export_pipeline.model.one_line import one_line
from export_pipeline.model.streams import prefetched
from export_pipeline.sources.arrow_types import Damaged, from_rows, ignore, to_kind
from export_pipeline.sources.casts import Query as Query
from export_pipeline.sources.casts import labelled
from export_pipeline.sources.stored import Stored, of_postgres, of_word

BATCH_BYTES = 2 * 1024 * 1024
BATCH_ROWS = 2048  # few, as a row's notes may be long


class SourceError(Exception):
    """The source database cannot be read. The message, one line, says what failed and what to do about it."""

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class SourceUnavailableError(SourceError):
    """The source database cannot be reached now; trying again later may help."""


class Snapshot(ABC):
    """An open snapshot. Every read sees the database as it was when the snapshot was opened.

    Attributes:
        opened_at: The moment of the snapshot, UTC.
        byte_order: The collation of this dialect that orders texts by code point.
        dialect: SQLAlchemy's name of the dialect, e.g. "postgresql".
    """

    opened_at: datetime
    byte_order: str
    dialect: str

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

    @abstractmethod
    def fields(self, select: Query) -> list[tuple[str, Stored]]:
        """The names and types of what a select gives, in order, without running it.

        Raises:
            SourceError: the database refuses the select.
        """

    @abstractmethod
    def tables(self, schema: str | None = None) -> list[str]:
        """The tables and views of a schema, by default those that need no schema's name."""

    @abstractmethod
    def table_fields(self, name: str, schema: str | None = None) -> dict[str, Stored]:
        """The columns of a table or view that is there, in order."""

    @abstractmethod
    def unique_keys(self, name: str, schema: str | None = None) -> list[frozenset[str]]:
        """Sets of columns whose values are never the same in two rows, the primary key first."""

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
    byte_order, dialect = "C", "postgresql"

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

    def fields(self, select: Query) -> list[tuple[str, Stored]]:
        try:
            with self._adbc.AdbcStatement(self._connection) as statement:
                statement.set_sql_query(literal_sql(select))
                handle = statement.execute_schema()  # it must live until its schema is taken over
                schema = pa.Schema._import_from_c(handle.address)
        except (self._adbc.Error, pa.ArrowException) as error:
            raise _readable(error) from error
        return [(field.name, of_postgres(field)) for field in schema]

    def tables(self, schema: str | None = None) -> list[str]:
        relation = sa.table(
            "pg_class", *map(sa.column, ("oid", "relname", "relnamespace", "relkind")), schema="pg_catalog"
        )
        select = sa.select(relation.c.relname).where(relation.c.relkind.in_(("r", "v", "m", "p", "f")))
        if schema is None:
            select = select.where(sa.func.pg_table_is_visible(relation.c.oid))
        else:
            select = select.where(relation.c.relnamespace == sa.func.to_regnamespace(_quoted(schema)))
        return [row["name"] for row in self.rows(select, [Column("name", "Name", Kind.TEXT)])]

    def table_fields(self, name: str, schema: str | None = None) -> dict[str, Stored]:
        table = sa.table(sa.quoted_name(name, True), schema=schema and sa.quoted_name(schema, True))
        return dict(self.fields(sa.select(sa.literal_column("*")).select_from(table)))

    def unique_keys(self, name: str, schema: str | None = None) -> list[frozenset[str]]:
        index = sa.text(
            "pg_catalog.pg_index AS i"
            " CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS k (attnum, place)"
            " JOIN pg_catalog.pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.attnum"
        )
        select: Query = (
            sa.select(sa.literal_column("i.indexrelid"), sa.literal_column("a.attname"))
            .select_from(index)
            .where(
                sa.literal_column("i.indrelid") == sa.func.to_regclass(_quoted(name, schema)),
                sa.text(
                    "i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL"
                    " AND i.indexprs IS NULL AND k.place <= i.indnkeyatts"
                ),
            )
            .order_by(sa.literal_column("i.indisprimary").desc(), sa.literal_column("i.indexrelid"))
        )
        keys: dict[int, set[str]] = {}
        for row in self.rows(select, [Column("key", "Key", Kind.INTEGER), Column("name", "Name", Kind.TEXT)]):
            keys.setdefault(row["key"], set()).add(row["name"])
        return [frozenset(columns) for columns in keys.values()]

    def rows(
        self, select: Query, columns: Sequence[Column], damaged: Damaged = ignore
    ) -> list[dict[str, Any]]:
        return [row for batch in self._batches(select, columns, damaged) for row in batch.to_pylist()]

    def batches(
        self, select: Query, columns: Sequence[Column], damaged: Damaged = ignore
    ) -> Iterator[pa.RecordBatch]:
        return prefetched(self._batches(select, columns, damaged))

    def _batches(
        self, select: Query, columns: Sequence[Column], damaged: Damaged = ignore
    ) -> Iterator[pa.RecordBatch]:
        sql = literal_sql(labelled(select, columns))
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


def _quoted(name: str, schema: str | None = None) -> str:
    """A table's name as PostgreSQL text, for functions that look names up."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in (schema, name) if part is not None)


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
    except sqlite3.Error as error:
        raise _readable(error, url) from error
    finally:
        engine.dispose()


def _escaping(value: bytes) -> str:
    """A text of SQLite, which need not be UTF-8; bytes that are not become surrogates."""
    return value.decode("utf-8", "surrogateescape")


def _lower(text: Any) -> Any:
    """What SQLite's own lower() does for ASCII only."""
    return text.lower() if isinstance(text, str) else text


def _word(type_: sa.types.TypeEngine[Any]) -> str:
    """A reflected type's declaration; of one that SQLAlchemy cannot write, nothing."""
    with suppress(sa.exc.CompileError):
        return str(type_.compile()) + (" with time zone" if getattr(type_, "timezone", False) else "")
    return ""


def _read_only_sqlite(url: sa.URL) -> sa.URL:
    """The same file, opened so that SQLite itself refuses a write and never creates the file."""
    if not url.database or url.database == ":memory:" or "uri" in url.query:
        return url
    return url.set(database=f"file:{url.database}", query={**url.query, "mode": "ro", "uri": "true"})


class _SqlAlchemySnapshot(Snapshot):
    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self.opened_at = datetime.now(UTC)
        self.dialect = connection.dialect.name
        self.byte_order = {"sqlite": "BINARY", "mysql": "utf8mb4_bin"}.get(self.dialect, "C")

    def has_table(self, name: str) -> bool:
        inspector = sa.inspect(self._connection)
        return name in {*inspector.get_table_names(), *inspector.get_view_names()}

    def fields(self, select: Query) -> list[tuple[str, Stored]]:
        with _readable_errors():
            names = list(self._connection.execute(select.limit(0)).keys())
        return [(name, of_word("")) for name in names]

    def tables(self, schema: str | None = None) -> list[str]:
        inspector = sa.inspect(self._connection)
        with suppress(sa.exc.DBAPIError):  # there is no such schema
            return [*inspector.get_table_names(schema), *inspector.get_view_names(schema)]
        return []

    def table_fields(self, name: str, schema: str | None = None) -> dict[str, Stored]:
        with _readable_errors(), warnings.catch_warnings():
            warnings.simplefilter("ignore", sa.exc.SAWarning)  # of types that SQLAlchemy has no class for
            found = sa.inspect(self._connection).get_columns(name, schema)
        return {column["name"]: of_word(_word(column["type"])) for column in found}

    def unique_keys(self, name: str, schema: str | None = None) -> list[frozenset[str]]:
        inspector = sa.inspect(self._connection)
        with _readable_errors(), warnings.catch_warnings():
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
        raw.text_factory = _escaping
        raw.create_function("export_lower", 1, _lower, deterministic=True)
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
                labelled(select, columns)
            )
            for rows in result.partitions(BATCH_ROWS):
                yield from_rows(rows, columns, damaged)
        except sa.exc.DBAPIError as error:
            raise _readable(error.orig or error) from error
        except (sqlite3.Error, pa.ArrowException, ValueError, TypeError) as error:
            raise _readable(error) from error


# --- shared -----------------------------------------------------------------------------------------


@contextmanager
def _readable_errors() -> Iterator[None]:
    try:
        yield
    except sa.exc.DBAPIError as error:
        raise _readable(error.orig or error) from error
    except sqlite3.Error as error:
        raise _readable(error) from error


_UNREACHABLE = ("connect", "unable to open database", "database is locked", "terminating", "starting up")
_PASSWORD = re.compile(r"(://[^:/@\s]*:)[^@\s]*@")


def _readable(error: BaseException, url: sa.URL | None = None) -> SourceError:
    """A database's error as one line without secrets, with what to do where that is known."""
    text = _PASSWORD.sub(r"\1***@", " ".join(str(error).split()))
    text = text.partition(" Query was: ")[0]
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
