"""Detects soft-deleted rows by the names, the types and the values of columns.

A filter is written only if it hides no row that the application would show. In doubt it is a comment.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from export_pipeline.sources.introspection.naming import split_words
from export_pipeline.sources.introspection.schema import FieldFacts, TableFacts
from export_pipeline.sources.introspection.types import Typed

MAX_ROWS = 10_000_000
"""Maximum number of rows whose values are examined; of a larger table only the first ones."""
_TIMES = ("timestamp", "date")
_SURE = ("deleted_at", "is_deleted", "deleted")
_UNSURE = (
    *("deleted_on", "deleted_date", "date_deleted", "deletion_date", "removed_at", "is_removed", "removed"),
    *("discarded_at", "trashed_at", "is_trashed", "trashed", "archived_at", "is_archived", "archived"),
)
_LONG_AGO = "1990-01-01"
"""Earlier times do not count as times of deletion: epoch 0, `0001-01-01`, minus infinity."""


@dataclass(frozen=True, slots=True)
class DeletedRows:
    """A column that may mark deleted rows.

    Attributes:
        column: Name of the column in the database.
        value: The `where` value of rows that are not deleted: null, false, 0, or a list of them.
        left_out: Number of rows that the filter currently excludes.
        rows: Number of rows that were examined.
        doubt: Reason why it may exclude rows that people want; empty if it does not.
    """

    column: str
    value: Any
    left_out: int
    rows: int
    doubt: str


def find_deleted_rows(
    connection: sa.Connection, table: TableFacts, types: Mapping[str, Typed]
) -> DeletedRows | None:
    """Return the column that marks deleted rows: the first certain one, else the first doubtful one.

    Raises:
        SourceError: The values cannot be read; see `schema.connected`.
    """
    doubtful = None
    for field, name in _candidates(table):
        judgement = _judge(connection, table, field, name, types[field.name])
        if judgement is not None and not judgement.doubt:
            return judgement
        doubtful = doubtful or judgement
    return doubtful


def _candidates(table: TableFacts) -> Iterator[tuple[FieldFacts, str]]:
    by_name = {"_".join(split_words(field.name)): field for field in reversed(table.fields)}
    return ((by_name[name], name) for name in (*_SURE, *_UNSURE) if name in by_name)


def _judge(
    connection: sa.Connection, table: TableFacts, field: FieldFacts, name: str, typed: Typed
) -> DeletedRows | None:
    kind = typed.kind
    if kind not in ("integer", *(_TIMES if name in _TIME_NAMES else ["boolean"])):
        return None
    column: sa.ColumnElement[Any] = sa.column(sa.quoted_name(field.name, True))
    some = sa.select(column).select_from(table.clause).limit(MAX_ROWS + 1).subquery()
    cell = some.c[field.name]
    marked, odd = _mark(cell, kind)
    counts = [
        sa.func.count(),
        *(sa.func.coalesce(sa.func.sum(sa.case((test, 1), else_=0)), 0) for test in (marked, odd)),
        sa.func.count() - sa.func.count(cell),
    ]
    rows, left_out, strange, missing = map(
        int, connection.execute(sa.select(*counts).select_from(some)).one()
    )
    doubt = _doubt(field, name, kind, rows, left_out, strange, missing)
    return DeletedRows(field.name, _value(kind, field), left_out, min(rows, MAX_ROWS), doubt)


_TIME_NAMES = frozenset(
    name for name in (*_SURE, *_UNSURE) if name.endswith(("_at", "_on", "_date")) or name.startswith("date_")
)


def _mark(cell: sa.ColumnElement[Any], kind: str) -> tuple[Any, Any]:
    """Return two tests of a row: whether it is marked as deleted, and whether its mark is unusual."""
    if kind in _TIMES:
        tomorrow = (datetime.now(UTC) + timedelta(days=1)).date().isoformat()
        latest: sa.ColumnElement[Any] = sa.literal_column(f"'{tomorrow}'")
        earliest: sa.ColumnElement[Any] = sa.literal_column(f"'{_LONG_AGO}'")
        return cell.is_not(None), sa.or_(cell > latest, cell < earliest)
    if kind == "boolean":
        # SQLite may store the words; other databases have only true.
        texts = sa.func.lower(sa.cast(cell, sa.Text)).in_(("true", "t", "1"))
        return texts, sa.false()
    return cell != 0, sa.or_(cell < 0, cell > 1)


def _value(kind: str, field: FieldFacts) -> Any:
    if kind in _TIMES:
        return None
    live = False if kind == "boolean" else 0
    return [live, None] if field.nullable else live


def _doubt(
    field: FieldFacts, name: str, kind: str, rows: int, left_out: int, strange: int, missing: int
) -> str:
    """Return why a filter by this column may exclude rows that people want; empty if it does not."""
    if name not in _SURE:
        return "the name may mean something else than deleted"
    if kind == "integer":
        return "numbers may also count, or be times"
    if kind in _TIMES and not field.nullable:
        return "the column always has a value, so rows that are not deleted have one too"
    if field.default and (
        kind in _TIMES or "true" in field.default.lower() or field.default.strip("'()") == "1"
    ):
        return f"new rows get {field.default} there"
    if strange:
        return f"{strange:,} of the times are infinite, in the future or before 1990"
    if left_out >= rows:
        return "it would leave out all rows" if rows else "there are no rows to judge by"
    if kind in _TIMES and left_out and not missing:
        return "no row is without this time"
    if rows > MAX_ROWS:
        return f"only {MAX_ROWS:,} rows were looked at"
    return ""
