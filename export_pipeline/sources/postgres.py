"""Reads PostgreSQL over ADBC: binary COPY, no Python object per cell, one REPEATABLE READ transaction."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar
from weakref import WeakSet

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from export_pipeline.core.columns import Column, Kind
from export_pipeline.core.streams import prefetch
from export_pipeline.sources.arrow_types import Damaged, MisfitError, ignore, to_kind
from export_pipeline.sources.casts import Query, label_columns
from export_pipeline.sources.database_errors import UnknownCharacterError, describe_error
from export_pipeline.sources.database_types import Stored, from_postgres_field
from export_pipeline.sources.sessions import prepare_postgres
from export_pipeline.sources.snapshot import Snapshot, SourceError

T = TypeVar("T")

BATCH_BYTES = 2 * 1024 * 1024
_TYPES_SECONDS = 60.0
_FIRST_QUERY = (
    "SELECT pg_catalog.current_setting('server_encoding') AS value,"
    " (SELECT pg_catalog.concat_ws('/', d.oid, count(*), max(t.oid)) FROM pg_catalog.pg_type AS t,"
    " pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database() GROUP BY d.oid) AS types"
)
_MAX_DATABASES = 8


@contextmanager
def open_database(url: sa.URL, statement_timeout: float) -> Iterator[Snapshot]:
    """See `open_snapshot`."""
    import adbc_driver_manager as adbc  # the low-level API: the dbapi module would import pandas

    with ExitStack() as connections:

        def connector(uri: str) -> Callable[..., PostgresSnapshot]:
            """Return a function that opens connections to this URI; the block's end closes them."""
            try:
                database = connections.enter_context(_databases.lend(uri))
            except adbc.Error as error:
                raise describe_error(error, url) from None

            def connect(shared: str | None = None, row_security: bool = False) -> PostgresSnapshot:
                with ExitStack() as opening:
                    try:
                        connection = opening.enter_context(adbc.AdbcConnection(database))
                    except adbc.Error as error:
                        raise describe_error(error, url) from None
                    snapshot = PostgresSnapshot(adbc, connection, connect)
                    opening.callback(snapshot.end)
                    snapshot.begin(statement_timeout, shared, row_security)
                    connections.enter_context(opening.pop_all())
                return snapshot

            return connect

        def open_current(**options: str) -> PostgresSnapshot:
            uri = _libpq_uri(url, options)
            snapshot = connector(uri)()
            return connector(uri)() if _databases.is_outdated(uri, snapshot.types) else snapshot

        snapshot = open_current()
        if not snapshot.knows_types:
            url_options = url.query.get("options", "")
            snapshot = open_current(options=f"{url_options} -c quote_all_identifiers=off".strip())
        yield snapshot


@dataclass(slots=True)
class _Database:
    """The driver's database, which must be closed by hand: otherwise its types are never released."""

    read_at: float
    handle: Any
    users: int = 1
    is_replaced: bool = False

    def close_if_unused(self) -> None:
        if self.is_replaced and not self.users:
            self.handle.close()


class _Databases:
    """Keeps what the driver has read of a database's types, which takes longer than a small export.

    It is no connection, so a forked process may use it too.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, _Database] = {}
        self._types: dict[str, str] = {}

    @contextmanager
    def lend(self, uri: str) -> Iterator[Any]:
        """Yield the driver's database at a URI, with its types of at most `_TYPES_SECONDS` ago."""
        import adbc_driver_manager as adbc
        import adbc_driver_postgresql

        now = time.monotonic()
        with self._lock:
            lent = self._known.get(uri)
            if lent is not None and now - lent.read_at <= _TYPES_SECONDS:
                lent.users += 1
            else:
                lent = None
        if lent is None:  # it is opened without the lock, as a server that is away takes ten seconds
            handle = adbc.AdbcDatabase(driver=adbc_driver_postgresql._driver_path(), uri=uri)
            lent = _Database(now, handle)
            with self._lock:
                for other in list(self._known) if len(self._known) >= _MAX_DATABASES else [uri]:
                    self._replace(other)
                self._known[uri] = lent
        try:
            yield lent.handle
        finally:
            with self._lock:
                lent.users -= 1
                lent.close_if_unused()

    def _replace(self, uri: str) -> None:
        if (known := self._known.pop(uri, None)) is not None:
            known.is_replaced = True
            known.close_if_unused()

    def is_outdated(self, uri: str, types: str | None) -> bool:
        """Return whether types were added or removed since they were read; they are then read again.

        Args:
            types: A text that changes with the types, as the first snapshot and this one see it.
        """
        if types is None or self._types.setdefault(uri, types) == types:
            return False
        with self._lock:
            self._replace(uri)
        self._types[uri] = types
        return True


_databases = _Databases()


def _libpq_uri(url: sa.URL, options: Mapping[str, str]) -> str:
    query = {"application_name": "export_pipeline", "connect_timeout": "10", **url.query, **options}
    query["client_encoding"] = "UTF8"  # the driver reads type names before any setting can be made
    uri = url.set(drivername="postgresql", query=query).render_as_string(hide_password=False)
    address, _, parameters = uri.partition("?")
    # libpq does not decode + as a space, and rejects a space in a password.
    return f"{address.replace(' ', '%20')}?{parameters.replace('+', '%20')}"


class PostgresSnapshot(Snapshot):
    """A read-only transaction; `connect` opens another one with the same view of the data."""

    byte_order, dialect = "C", "postgresql"

    def __init__(self, adbc: Any, connection: Any, connect: Callable[..., PostgresSnapshot]) -> None:
        self._adbc, self._connection, self._connect = adbc, connection, connect
        self._filtered: PostgresSnapshot | None = None
        self._siblings: list[Snapshot] = []
        self._probe: PostgresSnapshot | None = None
        self._readings: WeakSet[Any] = WeakSet()

    def begin(self, statement_timeout: float, shared: str | None, row_security: bool) -> None:
        """Take a snapshot, or import the one that another transaction has exported under this name."""
        self._row_security = row_security
        self.command("BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY NOT DEFERRABLE")
        if shared is not None:
            self.command(f"SET TRANSACTION SNAPSHOT '{shared}'")
        self.command(f"SET LOCAL statement_timeout = {int(statement_timeout * 1000)}")
        # The first query takes the snapshot, not BEGIN.
        (row,) = self._query(_FIRST_QUERY)
        self.opened_at = datetime.now(UTC)
        # The driver looks up types when it connects; it finds none if function names are printed in quotes.
        self.knows_types = isinstance(row["value"], str)
        self.types: str | None = row["types"] if self.knows_types else None
        if self.knows_types:
            self._encoding, self._codec = row["value"], _codec(row["value"])
            prepare_postgres(self._query, row_security=row_security)

    def with_row_security(self) -> Snapshot:
        if self._filtered is None and not self._row_security:
            self._filtered = self._connect(self._export_snapshot(), True)
            self._filtered.opened_at = self.opened_at
        return self._filtered or self

    def end(self) -> None:
        """Release unfinished reads, then the snapshot: two threads at once would crash the driver."""
        for reading in list(self._readings):
            with suppress(Exception):
                reading.close()
        with suppress(SourceError):
            self.command("ROLLBACK")

    def sibling_connections(self, count: int) -> list[Snapshot]:
        if len(self._siblings) < count:
            with suppress(SourceError, self._adbc.Error):  # no free connection
                shared = self._export_snapshot()
                while len(self._siblings) < count:
                    self._siblings.append(self._connect(shared, self._row_security))
        return self._siblings[:count]

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        others = set(self._readings)
        self.command("SAVEPOINT reading")
        try:
            yield
        except Exception:
            for reading in set(self._readings) - others:
                reading.close()
            with suppress(SourceError):  # the first error says more
                self.command("ROLLBACK TO SAVEPOINT reading")
                self.command("RELEASE SAVEPOINT reading")
            raise
        self.command("RELEASE SAVEPOINT reading")

    def _export_snapshot(self) -> str:
        """Return the name under which another transaction can import this snapshot."""
        (row,) = self.rows(sa.select(sa.func.pg_export_snapshot()), [Column("id", "Id", Kind.TEXT)])
        return str(row["id"])

    def has_table(self, name: str) -> bool:
        query = sa.select(sa.func.to_regclass(sa.literal(name, sa.String)).is_not(None))
        (row,) = self.rows(query, [Column("found", "Found", Kind.BOOLEAN)])
        return bool(row["found"])

    def command(self, sql: str) -> None:
        """Run a statement that returns no rows."""

        def run() -> Iterator[None]:
            with self._statement(sql) as statement:
                yield statement.execute_update()

        list(self._waiting(run()))

    def fields(self, select: Query) -> list[tuple[str, Stored]]:
        def run() -> Iterator[pa.Schema]:
            with self._statement(literal_sql(select)) as statement:
                handle = statement.execute_schema()  # must stay alive until its schema is imported
                yield pa.Schema._import_from_c(handle.address)

        (schema,) = self._waiting(run())
        return [(field.name, from_postgres_field(field, self._codec)) for field in schema]

    def tables(self, schema: str | None = None) -> list[str]:
        relation = sa.table(
            "pg_class", *map(sa.column, ("oid", "relname", "relnamespace", "relkind")), schema="pg_catalog"
        )
        select = sa.select(relation.c.relname).where(relation.c.relkind.in_(("r", "v", "m", "p", "f")))
        if schema is None:
            select = select.where(sa.func.pg_table_is_visible(relation.c.oid))
        else:
            select = select.where(relation.c.relnamespace == sa.func.to_regnamespace(_quote(schema)))
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
                sa.literal_column("i.indrelid") == sa.func.to_regclass(_quote(name, schema)),
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

    def batches(
        self, select: Query, columns: Sequence[Column], damaged: Damaged = ignore
    ) -> Iterator[pa.RecordBatch]:
        def run() -> Iterator[pa.RecordBatch]:
            try:
                with closing(self._read(literal_sql(label_columns(select, columns)))) as stream:
                    for batch in stream:
                        yield to_kind(batch, columns, damaged)
            except UnknownCharacterError as error:
                raise self._explain(error, select, columns) from None
            except (MisfitError, pa.ArrowException) as error:
                raise describe_error(error) from None

        return self._waiting(run())

    def _read(self, sql: str) -> Generator[pa.RecordBatch]:
        from adbc_driver_manager._reader import AdbcRecordBatchReader  # pyarrow's own would lose the SQLSTATE

        with self._statement(sql) as statement:
            statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": str(BATCH_BYTES)})
            handle, _ = statement.execute_query()
            for batch in AdbcRecordBatchReader._import_from_c(handle.address):
                if batch.num_rows:
                    yield batch

    def _query(self, sql: str) -> list[dict[str, Any]]:
        """Return the rows of a small query."""
        return [row for batch in self._waiting(self._read(sql)) for row in batch.to_pylist()]

    def _explain(self, error: SourceError, select: Query, columns: Sequence[Column]) -> SourceError:
        """Return an error that names the columns with undecodable text, if there are any."""
        wrong: list[str] = []
        self._probe = probe = self._probe or self._connect(None, self._row_security)
        for expression, column in zip(select.selected_columns, columns, strict=True):
            one = select.with_only_columns(expression, maintain_column_froms=True).order_by(None)
            try:
                with probe.savepoint():
                    for _ in probe._read(literal_sql(label_columns(one, [column]))):
                        pass
            except UnknownCharacterError:
                wrong.append(column.name)
        if not wrong:
            return error
        return SourceError(
            f"Column {', '.join(wrong)} has texts that are not UTF-8, and the database's encoding "
            f"{self._encoding} does not say what they are: correct them there, or let a view or .sql file "
            f"give convert_from(column::bytea, 'LATIN1'), with the encoding they are in. {error}"
        )

    @contextmanager
    def _statement(self, sql: str) -> Iterator[Any]:
        try:
            with self._adbc.AdbcStatement(self._connection) as statement:
                statement.set_sql_query(sql)
                yield statement
        except (self._adbc.Error, pa.ArrowException, OSError) as error:
            raise describe_error(error) from None

    def _waiting(self, results: Iterator[T]) -> Iterator[T]:
        """Yield a query's results, fetched in another thread: inside the driver this one handles no signals.

        If the caller stops early, the query is cancelled in the database.
        """
        reading = prefetch(results, interrupt=self._cancel)
        self._readings.add(reading)
        return reading

    def _cancel(self) -> None:
        with suppress(self._adbc.Error):
            self._connection.cancel()


def _quote(name: str, schema: str | None = None) -> str:
    """Return a table's name as a quoted string, for functions that look up names."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in (schema, name) if part is not None)


def _codec(encoding: str) -> str | None:
    """Return Python's name of a server's encoding; None if it holds any text or is unknown."""
    if encoding in ("UTF8", "SQL_ASCII"):
        return None
    from psycopg2.extensions import encodings

    codec: str | None = encodings.get(encoding)
    return codec


class _Compiler(postgresql.base.PGCompiler):
    def render_literal_value(self, value: Any, type_: sa.types.TypeEngine[Any]) -> str:
        text: str = super().render_literal_value(value, type_)  # type: ignore[no-untyped-call]
        # In E'…' backslashes are escapes, whatever `standard_conforming_strings` is.
        escaped = text.replace("\\", "\\\\")
        return text if escaped == text else f"E{escaped}"


_DIALECT = postgresql.dialect(paramstyle="named")  # type: ignore[no-untyped-call]
_DIALECT.statement_compiler = _Compiler  # type: ignore[assignment]


def literal_sql(select: Query) -> str:
    """Render a select as PostgreSQL text with its values, by SQLAlchemy's typed literals.

    ADBC streams only statements without parameters. Only numbers, booleans, times and quoted strings can be
    rendered; a value of any other type raises, so nothing is left unescaped. The meaning of a literal
    depends on no setting of the session. NUL, which PostgreSQL strings cannot hold, is rejected.

    Raises:
        SourceError: A value has no literal form.
    """
    try:
        compiled = select.compile(dialect=_DIALECT, compile_kwargs={"literal_binds": True})
    except sa.exc.CompileError as error:
        raise SourceError(f"A filter's value cannot be written into the query: {error}") from None
    text = str(compiled)
    if "\x00" in text:
        raise SourceError("A filter's value holds a NUL character, which no PostgreSQL text can hold.")
    return text
