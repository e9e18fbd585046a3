"""PostgreSQL read over ADBC: binary COPY, no Python object per cell, one REPEATABLE READ transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, TypeVar

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from export_pipeline.model.columns import Column, Kind
from export_pipeline.model.streams import prefetched
from export_pipeline.sources.arrow_types import Damaged, ignore, to_kind
from export_pipeline.sources.casts import Query, labelled
from export_pipeline.sources.database_errors import readable
from export_pipeline.sources.snapshot import Snapshot, SourceError
from export_pipeline.sources.stored import Stored, of_postgres

T = TypeVar("T")

BATCH_BYTES = 2 * 1024 * 1024


@contextmanager
def opened(url: sa.URL, statement_timeout: float) -> Iterator[Snapshot]:
    """See `open_snapshot`."""
    import adbc_driver_manager as adbc  # the light layer: its dbapi would import pandas
    import adbc_driver_postgresql

    query = {"application_name": "export_pipeline", "connect_timeout": "10"} | dict(url.query)
    uri = url.set(drivername="postgresql", query=query).render_as_string(hide_password=False)
    address, _, parameters = uri.partition("?")
    uri = f"{address}?{parameters.replace('+', '%20')}"  # libpq knows no + for a space
    try:
        with (
            adbc.AdbcDatabase(driver=adbc_driver_postgresql._driver_path(), uri=uri) as database,
            ExitStack() as connections,
        ):

            def connect(shared: str | None = None) -> PostgresSnapshot:
                connection = connections.enter_context(adbc.AdbcConnection(database))
                snapshot = PostgresSnapshot(adbc, connection, connect)
                connections.callback(snapshot.end)
                snapshot.begin(statement_timeout, shared)
                return snapshot

            yield connect()
    except adbc.Error as error:
        raise readable(error, url) from error


class PostgresSnapshot(Snapshot):
    """A read-only transaction; `connect` makes another one that sees what it sees."""

    byte_order, dialect = "C", "postgresql"

    def __init__(self, adbc: Any, connection: Any, connect: Callable[[str], Snapshot]) -> None:
        self._adbc, self._connection, self._connect = adbc, connection, connect

    def begin(self, statement_timeout: float, shared: str | None) -> None:
        """Take a snapshot, or the one that another transaction has exported under this name."""
        self.command("BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        if shared is not None:
            self.command(f"SET TRANSACTION SNAPSHOT '{shared}'")
        self.command(f"SET LOCAL statement_timeout = {int(statement_timeout * 1000)}")
        self.command("SET LOCAL timezone = 'UTC'")
        self.command("SELECT 1")  # the snapshot is taken by the first query, not by BEGIN
        self.opened_at = datetime.now(UTC)

    def end(self) -> None:
        """Let go of the snapshot."""
        with suppress(SourceError):
            self.command("ROLLBACK")

    def beside(self, count: int) -> list[Snapshot]:
        (row,) = self.rows(sa.select(sa.func.pg_export_snapshot()), [Column("id", "Id", Kind.TEXT)])
        found: list[Snapshot] = []
        with suppress(SourceError, self._adbc.Error):  # no connection is free
            while len(found) < count:
                found.append(self._connect(row["id"]))
        return found

    def has_table(self, name: str) -> bool:
        found = sa.select(sa.func.to_regclass(name).is_not(None))
        (row,) = self.rows(found, [Column("found", "Found", Kind.BOOLEAN)])
        return bool(row["found"])

    def command(self, sql: str) -> None:
        """Run a statement that gives no rows."""

        def run() -> Iterator[None]:
            with self._statement(sql) as statement:
                yield statement.execute_update()

        list(self._waiting(run()))

    def fields(self, select: Query) -> list[tuple[str, Stored]]:
        def run() -> Iterator[pa.Schema]:
            with self._statement(literal_sql(select)) as statement:
                handle = statement.execute_schema()  # it must live until its schema is taken over
                yield pa.Schema._import_from_c(handle.address)

        (schema,) = self._waiting(run())
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

    def batches(
        self, select: Query, columns: Sequence[Column], damaged: Damaged = ignore
    ) -> Iterator[pa.RecordBatch]:
        def run() -> Iterator[pa.RecordBatch]:
            with self._statement(literal_sql(labelled(select, columns))) as statement:
                statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": str(BATCH_BYTES)})
                handle, _ = statement.execute_query()
                for batch in pa.RecordBatchReader._import_from_c(handle.address):
                    if batch.num_rows:
                        yield to_kind(batch, columns, damaged)

        return self._waiting(run())

    @contextmanager
    def _statement(self, sql: str) -> Iterator[Any]:
        try:
            with self._adbc.AdbcStatement(self._connection) as statement:
                statement.set_sql_query(sql)
                yield statement
        except (self._adbc.Error, pa.ArrowException, OSError) as error:
            raise readable(error) from error

    def _waiting(self, results: Iterator[T]) -> Iterator[T]:
        """What a query gives, waited for in another thread: within the driver this one would hear no signal.

        Who stops waiting ends the query in the database.
        """
        return prefetched(results, interrupt=self._cancel)

    def _cancel(self) -> None:
        with suppress(self._adbc.Error):
            self._connection.cancel()


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
