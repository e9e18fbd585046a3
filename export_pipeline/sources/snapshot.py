"""A read-only, consistent view of an application's database, read as Arrow batches.

PostgreSQL is read over ADBC (binary COPY, no Python object per cell) inside one REPEATABLE READ READ ONLY
transaction. Every other SQLAlchemy dialect is read through SQLAlchemy's streamed rows; for SQLite one read
transaction stays open. In both cases a select gives batches with exactly the requested columns.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from importlib import import_module
from typing import Any, Protocol

import sqlalchemy as sa

from export_pipeline.core.arrow import pa
from export_pipeline.core.columns import Column
from export_pipeline.core.export_data import ExportData, Request
from export_pipeline.core.messages import one_line
from export_pipeline.database_url import parse_database_url
from export_pipeline.redaction import RedactedError, remember_credentials
from export_pipeline.sources.arrow_types import Damaged, ignore
from export_pipeline.sources.casts import Query as Query
from export_pipeline.sources.database_types import Stored


class SourceError(RedactedError):
    """Raised when the source database cannot be read. The message is one line with the cause and the cure."""

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class SourceUnavailableError(SourceError):
    """Raised when the source database cannot be reached. A later retry may succeed."""


class Snapshot(ABC):
    """An open snapshot. Every read sees the database as of the moment the snapshot was opened.

    Attributes:
        opened_at: The moment of the snapshot, UTC.
        byte_order: The collation of this dialect that orders strings by code point.
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
            select: The select to run.
            columns: The columns that its expressions are read as.
            damaged: Called for cells that could not be read as stored.

        Raises:
            SourceError: The query failed or timed out, or a cell does not fit its column's kind.
        """

    @abstractmethod
    def has_table(self, name: str) -> bool:
        """Return whether a table or view of this name can be read without a schema name."""

    @abstractmethod
    def fields(self, select: Query) -> list[tuple[str, Stored]]:
        """Return the names and types of a select's result columns, in order, without running it.

        Raises:
            SourceError: The database rejects the select.
        """

    @abstractmethod
    def tables(self, schema: str | None = None) -> list[str]:
        """Return the tables and views of a schema; by default those that need no schema name."""

    @abstractmethod
    def table_fields(self, name: str, schema: str | None = None) -> dict[str, Stored]:
        """Return the columns of an existing table or view, in order."""

    @abstractmethod
    def unique_keys(self, name: str, schema: str | None = None) -> list[frozenset[str]]:
        """Return the sets of columns whose values are unique among rows, the primary key first."""

    def rows(
        self, select: Query, columns: Sequence[Column], damaged: Damaged = ignore
    ) -> list[dict[str, Any]]:
        """Return the rows of a small select as dictionaries by column name."""
        return [row for batch in self.batches(select, columns, damaged) for row in batch.to_pylist()]

    def with_row_security(self) -> Snapshot:
        """Return the same snapshot with row-level security applied; it stays open as long as this one.

        Without it, PostgreSQL rejects a query if the policies would hide any of its rows.
        """
        return self

    def sibling_connections(self, count: int) -> list[Snapshot]:
        """Return further connections with the same view of the data, to read over all of them in parallel.

        They stay open as long as this one. Each call returns the same ones: read one table over
        them at a time. There may be fewer than `count`, or none: a database limits its connections, and most
        databases cannot share a snapshot.
        """
        return []

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Keep the snapshot readable after an error in the block. Most databases need nothing for that."""
        yield


class Source(Protocol):
    """Reads a dataset from a snapshot. A module with these functions is one."""

    def scopes(self, snapshot: Snapshot, spec: Mapping[str, Any], /) -> dict[str, str]:
        """Return the scopes of the dataset, names by id; empty if it has none."""

    def read(self, snapshot: Snapshot, request: Request, /) -> ExportData:
        """Read the rows of a request, and none of other scopes. They stream while the snapshot is open."""


def visible(snapshot: Snapshot, row_security: object) -> Snapshot:
    """Return the snapshot for a dataset's setting: "apply" hides rows by row-level security."""
    return snapshot.with_row_security() if row_security == "apply" else snapshot


@contextmanager
def open_snapshot(url: str, *, statement_timeout: float = 0) -> Iterator[Snapshot]:
    """Open a read-only snapshot of the database at a SQLAlchemy URL.

    Args:
        url: SQLAlchemy URL, e.g. `postgresql://user:secret@host/app` or `sqlite:///app.db`.
        statement_timeout: Time limit of a query in seconds; 0 for no limit.

    Raises:
        SourceError: The URL is malformed, the driver is missing or the database cannot be reached.
    """
    remember_credentials(url)
    try:
        parsed = parse_database_url(url)
    except sa.exc.ArgumentError:
        raise SourceError(
            "EXPORT_SOURCE_URL is not a database URL; it should look like "
            "postgresql://user:password@host:5432/database or sqlite:////path/to/file.db"
        ) from None
    # Each module imports its own driver, so a run loads only one of them.
    reader = "postgres" if parsed.get_backend_name() == "postgresql" else "sqlalchemy_rows"
    with import_module(f"export_pipeline.sources.{reader}").open_database(
        parsed, statement_timeout
    ) as snapshot:
        yield snapshot
