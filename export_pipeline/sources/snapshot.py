"""One read-only, consistent view of an application's database, read as Arrow batches.

PostgreSQL is read over ADBC (binary COPY, no Python object per cell) inside one REPEATABLE READ READ ONLY
transaction. Every other SQLAlchemy dialect is read through SQLAlchemy's streamed rows; SQLite keeps one
read transaction open. Either way a select gives batches whose fields are exactly the columns asked for.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from importlib import import_module
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from export_pipeline.core.columns import Column
from export_pipeline.core.one_line import one_line
from export_pipeline.database_url import parse_database_url
from export_pipeline.redaction import RedactedError, remember_credentials
from export_pipeline.sources.arrow_types import Damaged, ignore
from export_pipeline.sources.casts import Query as Query
from export_pipeline.sources.database_types import Stored


class SourceError(RedactedError):
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

    def with_row_security(self) -> Snapshot:
        """Return the same snapshot as policies of row level security show it; it is open as long as this one.

        Elsewhere PostgreSQL refuses a query from which they would hide rows.
        """
        return self

    def beside(self, count: int) -> list[Snapshot]:
        """Further connections that see the very same moment, to read over all of them at once.

        They are open as long as this one. There may be fewer than `count`, or none: a database has only so
        many connections, and most kinds of them cannot share a snapshot.
        """
        return []


def visible(snapshot: Snapshot, row_security: object) -> Snapshot:
    """Return the snapshot as a dataset declares it: "apply" leaves out what row level security hides."""
    return snapshot.with_row_security() if row_security == "apply" else snapshot


@contextmanager
def open_snapshot(url: str, *, statement_timeout: float = 0) -> Iterator[Snapshot]:
    """Open a read-only snapshot of the database at a SQLAlchemy URL.

    Args:
        url: e.g. `postgresql://user:secret@host/app` or `sqlite:///app.db`.
        statement_timeout: Seconds one query may take before it is ended; 0 for no limit.

    Raises:
        SourceError: the URL is malformed, the driver is missing or the database cannot be reached.
    """
    remember_credentials(url)
    try:
        parsed = parse_database_url(url)
    except sa.exc.ArgumentError:
        raise SourceError(
            "EXPORT_SOURCE_URL is not a database URL; it should look like "
            "postgresql://user:password@host:5432/database or sqlite:////path/to/file.db"
        ) from None
    # Each imports what it needs, so a run loads one of them.
    reader = "postgres" if parsed.get_backend_name() == "postgresql" else "sqlalchemy_rows"
    with import_module(f"export_pipeline.sources.{reader}").opened(parsed, statement_timeout) as snapshot:
        yield snapshot
