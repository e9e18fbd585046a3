"""Databases that others wrote: filled from files, introspected without an edit, exported, compared cell by cell.

What a cell should say comes from the database's plain driver; what it says, from readers that no writer uses.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
import sqlite3
import subprocess
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Context, Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import sqlalchemy as sa
import yaml

from export_pipeline import tabular
from export_pipeline.core.export_data import Request
from export_pipeline.core.sanitize import sanitize
from export_pipeline.datasets.options import parse_options
from export_pipeline.datasets.table import TableModel
from export_pipeline.formats.options import FormatOptions
from export_pipeline.formats.registry import FORMATS
from export_pipeline.orchestration.runs.staging import load, save
from export_pipeline.sources.introspection.introspect import introspect
from export_pipeline.sources.snapshot import open_snapshot
from export_pipeline.sources.tables import read as source
from export_pipeline.tabular.columns import column_of
from export_pipeline.tabular.spec import ColumnSpec, TableSpec
from export_pipeline.tabular.validation import CheckedTableSpec
from export_pipeline_tests.tools import require_tool

PUBLIC = Path(__file__).parent / "public"
DATABASES = ("chinook", "flights", "penguins")
Row = tuple[Any, ...]


def tables_of(database: str) -> list[str]:
    """The tables and views of a public database, in an order in which they can be filled."""
    return re.findall(r'CREATE (?:TABLE|VIEW) "?(\w+)', (PUBLIC / f"{database}.sql").read_text("utf-8"))


def fill(url: str, database: str) -> None:
    """Make a public database's tables and put in its rows, as texts that the database itself reads."""
    statements = (PUBLIC / f"{database}.sql").read_text("utf-8").split(";\n")
    with plain(url) as connection:
        cursor = connection.cursor()
        for statement in filter(str.strip, statements):
            cursor.execute(statement)
        sign = "?" if url.startswith("sqlite") else "%s"
        for table in tables_of(database):
            file = PUBLIC / database / f"{table}.csv"
            if not file.exists():
                continue
            head, *rows = csv.reader(io.StringIO(file.read_text("utf-8"), newline=""))
            names = ", ".join(f'"{name}"' for name in head).replace("%", "%%" if sign == "%s" else "%")
            insert = f'INSERT INTO "{table}" ({names}) VALUES ({", ".join([sign] * len(head))})'
            cursor.executemany(insert, [[cell or None for cell in row] for row in rows])
        connection.commit()


@contextmanager
def plain(url: str) -> Iterator[Any]:
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


@dataclass(frozen=True)
class Exported:
    """A table, introspected and exported without an edit."""

    yaml: str
    spec: TableSpec
    columns: Sequence[ColumnSpec]
    files: dict[str, Path]
    problems: Sequence[str]
    changed: Mapping[tuple[str, str], int]


def export(
    url: str, table: str, folder: Path, formats: Sequence[str] | None = None, **asked: Any
) -> Exported:
    """Introspect a table and export all its own columns by the stages that a run has, with staging between them."""
    introspected = introspect(url, table)
    model = TableModel.model_validate(yaml.safe_load(introspected.yaml)["attributes"])
    spec = CheckedTableSpec.model_validate(model.spec())
    columns = [column for column in spec.columns if not column.hidden and not column.extra]
    options, format_options = parse_options(
        {**model.options, "excel_layout": "plain", **asked}, tabular.options(model.spec()), FormatOptions
    )
    assert isinstance(format_options, FormatOptions)
    request = Request(model.dataset, tabular, model.spec(), None, options, None)
    folder.mkdir(parents=True)
    with open_snapshot(url) as snapshot:
        data = source.read(snapshot, request)
        save(replace(data, options={**data.options, **format_options.model_dump()}), folder / "read")
    save(sanitize(tabular.build(load(folder / "read", {data.dataset: data}))), folder / "clean")
    clean = load(folder / "clean", {data.dataset: data})
    changed, layout = dict(clean.changed), tabular.layout(clean)
    files, problems = {}, []
    for name in formats or model.formats:
        path = folder / f"export{FORMATS[name].extension}"
        with path.open("wb") as out:
            FORMATS[name].render(layout, out, format_options.of(name))
        facts = FORMATS[name].read_back(path, format_options.of(name))
        proof = FORMATS[name].proof(layout, format_options.of(name))
        if (facts.rows, tuple(facts.problems)) != (proof.rows, ()):
            problems.append(f"{table} as {name}: {facts.rows} rows, not {proof.rows}; {facts.problems}")
        for column, (total, tolerance) in proof.totals.items():
            if not abs(facts.totals.get(column, 0.0) - total) <= tolerance:
                problems.append(
                    f"{table} as {name}: {column} adds up to {facts.totals.get(column)}, not {total}"
                )
        files[name] = path
    return Exported(introspected.yaml, spec, columns, files, problems, changed)


_USED: dict[str, Any] = {
    "integer": 1, "decimal": "1.5", "float": 1.5, "boolean": True, "date": "2013-01-01",
    "timestamp": "2013-01-01T00:00:00", "text": "a", "uuid": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
}  # fmt: skip


def use_everything(url: str, table: str) -> int:
    """Read a table by each filter, operator, order and preset that its introspection offers; how often it was read."""
    model = TableModel.model_validate(yaml.safe_load(introspect(url, table).yaml)["attributes"])
    spec, columns = model.spec(), {column.name: column for column in model.columns}
    reads = 0
    with open_snapshot(url) as snapshot:

        def read(**given: Any) -> int:
            nonlocal reads
            options, _ = parse_options(given, tabular.options(spec), FormatOptions)
            request = Request(model.dataset, tabular, spec, None, options, None)
            data = source.read(snapshot, request)
            rows = sum(batch.num_rows for batch in data.tables["rows"].open())
            assert rows == data.source_rows, given
            reads += 1
            return rows

        whole = read()
        for name, filter_ in model.filters.items():
            of = columns.get(name) or next(c for c in columns.values() if filter_.column in (c.from_, c.name))
            value = _USED.get(of.parsed.kind.value) or next(iter(of.labels), None)
            used = {
                "equals": value,
                "in": [value],
                "range": {"from": value},
                "contains": "a",
                "is_null": True,
            }
            asked = {
                operator: read(filters={name: {operator: used[operator]}}) for operator in filter_.operators
            }
            if "is_null" in asked:
                assert asked["is_null"] + read(filters={name: {"is_null": False}}) == whole, name
            if "equals" in asked and "in" in asked:
                assert asked["equals"] == asked["in"], name
        for name in model.sort:
            assert read(sort=[name]) == read(sort=[f"-{name}"]) == whole
        for name in model.presets:
            assert read(preset=name) == whole
    return reads


def truth(url: str, made: Exported) -> list[Row]:
    """The rows as the plain driver returns them; types without a kind of their own as the database prints them."""
    table = made.spec.source.table or ""
    place = ".".join(f'"{part}"' for part in (table.split(".", 1) if "." in table else [table]))
    texts = {"text", "enum", "uuid", "json"}
    cells = []
    for column in made.columns:
        name = '"' + (column.from_ or column.name).replace('"', '""') + '"'
        printed = not url.startswith("sqlite") and column.type in texts
        cells.append(f"{name}::text" if printed else name)
    with plain(url) as connection:
        cursor = connection.cursor()
        # Rows that are marked as deleted are nobody's any more.
        tests = {None: '"{}" IS NULL', False: 'NOT "{}"'}
        kept = [
            f"({' OR '.join(tests[x].format(name) for x in (among if isinstance(among, list) else [among]))})"
            for name, among in made.spec.source.where.items()
        ]
        order = ""
        if len(made.spec.source.key) == 1:
            order = 'source."' + made.spec.source.key[0].replace('"', '""') + '"'
            if not url.startswith("sqlite"):
                cursor.execute(f"SELECT pg_typeof({order})::text FROM {place} AS source LIMIT 1")
                (type_,) = cursor.fetchone() or ("",)
                order += ' COLLATE "C"' if type_ in ("text", "character varying", "character", "name") else ""
            order = f"ORDER BY {order}"
        cursor.execute(
            f"SELECT {', '.join(cells)} FROM {place} AS source WHERE {' AND '.join(kept or ['1 = 1'])} {order}"
        )
        return [
            tuple(value(cell, column) for cell, column in zip(row, made.columns, strict=True))
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


# --- readers ----------------------------------------------------------------------------------------


def _csv(path: Path, columns: Sequence[ColumnSpec]) -> list[Row]:
    csv.field_size_limit(2**30)
    rows = list(csv.reader(io.StringIO(path.read_bytes().decode("utf-8"), newline=""), strict=True))[1:]
    return [
        tuple(value(cell, c) if cell != "" else None for cell, c in zip(row, columns, strict=True))
        for row in rows
    ]


def _documents(found_rows: Sequence[dict[str, Any]], columns: Sequence[ColumnSpec]) -> list[Row]:
    def cell(cell_value: Any, column: ColumnSpec) -> Any:
        if column.type == "json" and cell_value is not None:
            return json.dumps(cell_value, default=str, sort_keys=True)
        return value(cell_value, column)

    return [tuple(cell(one[column.name], column) for column in columns) for one in found_rows]


def documents(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON file, its numbers exact."""
    rows: list[dict[str, Any]] = json.loads(path.read_bytes(), parse_float=Decimal)
    return rows


def _json(path: Path, columns: Sequence[ColumnSpec]) -> list[Row]:
    return _documents(documents(path), columns)


def _jsonl(path: Path, columns: Sequence[ColumnSpec]) -> list[Row]:
    lines = path.read_text("utf-8").split("\n")
    return _documents([json.loads(line, parse_float=Decimal) for line in lines if line], columns)


def _excel(path: Path, columns: Sequence[ColumnSpec]) -> list[Row]:
    import openpyxl

    sheet = openpyxl.load_workbook(path, read_only=True).worksheets[0]
    rows = list(sheet.iter_rows(values_only=True))
    heads = [c.header or column_of(c).header for c in columns]
    # A moment's header also says its zone.
    starts = [[str(cell).partition(" (UTC)")[0] for cell in row] for row in rows]
    rows = rows[starts.index(heads) + 1 :]
    if rows and rows[0][0] == "No rows." and len(rows) == 1:
        return []

    def cell(cell_value: Any, column: ColumnSpec) -> Any:
        if isinstance(cell_value, datetime) and column.type == "timestamp":
            micros = round(cell_value.microsecond / 1000) * 1000  # a double's days hold no microseconds
            cell_value = cell_value.replace(microsecond=0) + timedelta(microseconds=micros)
        if isinstance(cell_value, time):
            cell_value = None
        return None if cell_value in (None, "") else value(cell_value, column)

    return [tuple(cell(content, c) for content, c in zip(row, columns, strict=True)) for row in rows]


def _parquet(path: Path, columns: Sequence[ColumnSpec]) -> list[Row]:
    import duckdb

    with closing(duckdb.connect()) as connection:
        connection.execute("SET timezone = 'UTC'")
        rows = connection.execute("SELECT * FROM read_parquet(?)", [str(path)]).fetchall()
    wide = [i for i, c in enumerate(columns) if c.parsed.precision and c.parsed.precision[0] > 38]
    if wide:  # DuckDB reads such decimals as doubles
        whole = pq.read_table(path).to_pydict()
        exact = {i: whole[columns[i].name] for i in wide}
        rows = [
            tuple(exact[i][r] if i in exact else x for i, x in enumerate(row)) for r, row in enumerate(rows)
        ]
    return [tuple(value(cell, c) for cell, c in zip(row, columns, strict=True)) for row in rows]


_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|[\u202d\u202e]")
_EXACT = Context(prec=100)

READERS: dict[str, Callable[[Path, Sequence[ColumnSpec]], list[Row]]] = {
    "csv": _csv,
    "json": _json,
    "jsonl": _jsonl,
    "excel": _excel,
    "parquet": _parquet,
}

_RUNS = re.compile(r"[\s\u200b-\u200f\u2060-\u206f\ufeff]*[=+\-@＝＋－＠]|[\t\r\n\x00]")


def expected(rows: Sequence[Row], columns: Sequence[ColumnSpec], format: str) -> list[Row]:
    """The expected cells of these rows in a format, by its documented rules."""

    def cell(value: Any, column: ColumnSpec) -> Any:
        is_text = column.parsed.kind.is_text
        if isinstance(value, str):
            value = _ILLEGAL.sub("\ufffd", value)
        if format == "csv" and is_text and value:
            return f"'{value}" if _RUNS.match(value) else value
        if format in ("csv", "excel") and value == "":
            return None
        if isinstance(value, float) and not math.isfinite(value) and format in ("json", "jsonl"):
            return None
        if format == "excel" and column.type == "timestamp" and value is not None:
            naive = value.replace(tzinfo=None)
            micros = round(naive.microsecond / 1000) * 1000
            wall = naive.replace(microsecond=0) + timedelta(microseconds=micros)
            return wall if column.zone is None else wall.replace(tzinfo=UTC)
        return value

    return [tuple(cell(cell_value, c) for cell_value, c in zip(row, columns, strict=True)) for row in rows]


def differences(url: str, table: str, made: Exported) -> list[str]:
    """Everything that a file says otherwise than the database; nothing, if all is well."""
    every = truth(url, made)
    problems = list(made.problems)
    for format, path in made.files.items():
        places = [i for i, c in enumerate(made.columns) if c.formats is None or format in c.formats]
        columns, rows = [made.columns[i] for i in places], [tuple(row[i] for i in places) for row in every]
        if format == "pdf":
            problems += _missing_in_pdf(path, expected(rows, columns, "pdf"), columns, table)
            continue
        lines = READERS[format](path, columns)
        in_rows = expected(rows, columns, format)
        expected_rows = Counter(in_rows)
        missing, extra = expected_rows - Counter(lines), Counter(lines) - expected_rows
        for row in list(missing)[:2]:
            near = max(
                extra, key=lambda one: sum(a == b for a, b in zip(one, row, strict=True)), default=None
            )
            cells = [
                f"{c.name}: {b!r} instead of {a!r}"
                for a, b, c in zip(row, near or (), columns, strict=False)
                if a != b
            ]
            problems.append(
                f"{table} as {format}: {sum(missing.values())} rows differ, e.g. {'; '.join(cells[:4])}"
            )
        key = [c.name for c in columns if (c.from_ or c.name) in made.spec.source.key]
        places = [i for i, c in enumerate(columns) if c.name in key]
        if len(key) == len(made.spec.source.key) == 1 and not missing:
            order, in_order = ([row[places[0]] for row in some] for some in (lines, in_rows))
            if None not in order and order != in_order:
                problems.append(f"{table} as {format} is not in the order of its key")
    return problems


def _missing_in_pdf(path: Path, rows: Sequence[Row], columns: Sequence[ColumnSpec], table: str) -> list[str]:
    """Words of texts and whole numbers that a PDF's text does not have; long ones may be broken over lines."""
    tool = str(require_tool("pdftotext"))
    text = subprocess.run([tool, "-layout", str(path), "-"], capture_output=True, check=True).stdout.decode()
    words = set(text.split())
    letters = re.sub(r"\s", "", text)
    expected_texts: set[str] = set()
    for row in rows:
        for cell, column in zip(row, columns, strict=True):
            if isinstance(cell, str) and column.type != "json":
                expected_texts.update(word for word in cell.split() if len(word) <= 8 and word.isascii())
            elif isinstance(cell, int) and not isinstance(cell, bool):
                expected_texts.add(f"{cell:,}" if f"{cell:,}" in words else str(cell))
    lost = [word for word in expected_texts if word not in words and word not in letters]
    return [f"{table} as pdf: {len(lost)} words are missing, e.g. {sorted(lost)[:5]}"] if lost else []
