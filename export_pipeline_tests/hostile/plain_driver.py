"""Rows as the plain driver of their database returns them: what the cells of a file should say."""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime
from decimal import Context, Decimal
from typing import Any

import sqlalchemy as sa

from export_pipeline.tabular.spec import ColumnSpec, TableSpec

Row = tuple[Any, ...]
_EXACT = Context(prec=100)


@contextmanager
def connect(url: str) -> Iterator[Any]:
    """A connection of the database's own driver."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
            connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
            yield connection
        return
    import psycopg2
    import psycopg2.extras

    parsed = sa.make_url(url).set(drivername="postgresql")
    with closing(psycopg2.connect(parsed.render_as_string(hide_password=False))) as connection:
        psycopg2.extras.register_default_json(connection, loads=str)
        psycopg2.extras.register_default_jsonb(connection, loads=str)
        connection.cursor().execute("SET timezone = 'UTC'")
        yield connection


def read_rows(url: str, spec: TableSpec, columns: Sequence[ColumnSpec]) -> list[Row]:
    """The rows as the plain driver returns them; types without a kind of their own as the database prints them."""
    table = spec.source.table or ""
    place = ".".join(f'"{part}"' for part in (table.split(".", 1) if "." in table else [table]))
    texts = {"text", "enum", "uuid", "json"}
    cells = []
    for column in columns:
        name = '"' + (column.from_ or column.name).replace('"', '""') + '"'
        printed = not url.startswith("sqlite") and column.type in texts
        cells.append(f"{name}::text" if printed else name)
    with connect(url) as connection:
        cursor = connection.cursor()
        # Rows that are marked as deleted are nobody's any more.
        tests = {None: '"{}" IS NULL', False: 'NOT "{}"'}
        kept = [
            f"({' OR '.join(tests[x].format(name) for x in (among if isinstance(among, list) else [among]))})"
            for name, among in spec.source.where.items()
        ]
        order = ""
        if len(spec.source.key) == 1:
            order = 'source."' + spec.source.key[0].replace('"', '""') + '"'
            if not url.startswith("sqlite"):
                cursor.execute(f"SELECT pg_typeof({order})::text FROM {place} AS source LIMIT 1")
                (type_,) = cursor.fetchone() or ("",)
                order += ' COLLATE "C"' if type_ in ("text", "character varying", "character", "name") else ""
            order = f"ORDER BY {order}"
        cursor.execute(
            f"SELECT {', '.join(cells)} FROM {place} AS source WHERE {' AND '.join(kept or ['1 = 1'])} {order}"
        )
        return [
            tuple(value(cell, column) for cell, column in zip(row, columns, strict=True))
            for row in cursor.fetchall()
        ]


def value(cell: Any, column: ColumnSpec) -> Any:
    """A cell of a driver or a reader as a value that compares; None for missing."""
    if cell is None:
        return None
    match column.parsed.kind.value:
        case "integer":
            return int(cell)
        case "decimal" | "money":
            number = Decimal(repr(cell) if isinstance(cell, float) else str(cell))
            return number.normalize(_EXACT) if number.is_finite() else None
        case "float":
            return float(cell) + 0.0
        case "boolean":
            return {"t": True, "true": True, "1": True, "yes": True}.get(str(cell).lower(), False)
        case "date":
            return date.fromisoformat(str(cell)[:10])
        case "timestamp":
            moment = cell if isinstance(cell, datetime) else datetime.fromisoformat(str(cell))
            if column.zone is None:
                return moment.replace(tzinfo=None)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
        case "uuid":
            return str(uuid.UUID(bytes=cell) if isinstance(cell, bytes) else uuid.UUID(str(cell)))
        case "json":
            return json.dumps(json.loads(cell, parse_float=Decimal), default=str, sort_keys=True)
    return cell.decode("utf-8", "replace") if isinstance(cell, bytes) else str(cell)
