"""Peers that a user would pick instead: each writes the same orders from the same database into a file."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from benchmarks.ours import PDF_COLUMNS

BATCH = 10_000


def copy_to(url: str, folder: Path) -> Path:
    """COPY TO, streamed into a file: no types, no guard, no proof."""
    import psycopg2

    path = folder / "orders.csv"
    plain = url.replace("postgresql+psycopg2", "postgresql")
    with psycopg2.connect(plain) as connection, connection.cursor() as cursor, path.open("wb") as out:
        cursor.copy_expert("COPY (SELECT * FROM orders ORDER BY id) TO STDOUT (FORMAT csv, HEADER)", out)
    return path


def csv_module(url: str, folder: Path) -> Path:
    """The csv module over SQLAlchemy's streamed rows."""
    path = folder / "orders.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        for number, rows in enumerate(_rows(url)):
            if number == 0:
                writer.writerow(rows[0]._fields)
            writer.writerows(rows)
    return path


def json_rows(url: str, folder: Path) -> Path:
    """orjson, a row at a time, into one array."""
    import orjson

    path = folder / "orders.json"
    with path.open("wb") as file:
        lead = b"[\n"
        for rows in _rows(url):
            for row in rows:
                file.write(lead + orjson.dumps(row._asdict(), default=str))
                lead = b",\n"
        file.write(b"]\n")
    return path


def openpyxl_write_only(url: str, folder: Path) -> Path:
    """openpyxl's write-only workbook."""
    from openpyxl import Workbook

    path = folder / "orders.xlsx"
    book = Workbook(write_only=True)
    sheet = book.create_sheet("Orders")
    for number, rows in enumerate(_rows(url)):
        if number == 0:
            sheet.append(rows[0]._fields)
        for row in rows:
            sheet.append([_cell(value) for value in row])
    book.save(path)
    return path


def xlsxwriter_constant(url: str, folder: Path) -> Path:
    """xlsxwriter in constant memory."""
    import xlsxwriter

    path = folder / "orders.xlsx"
    options = {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
    with xlsxwriter.Workbook(path, {**options, "default_date_format": "yyyy-mm-dd hh:mm:ss"}) as book:
        sheet = book.add_worksheet("Orders")
        line = 0
        for rows in _rows(url):
            if line == 0:
                sheet.write_row(0, 0, rows[0]._fields)
            for row in rows:
                line += 1
                sheet.write_row(line, 0, [_cell(value) for value in row])
    return path


def long_table(url: str, folder: Path) -> Path:
    """reportlab's LongTable, 500 rows at a time, 10 columns of fixed width."""
    from reportlab.lib import colors
    from reportlab.lib.pagesizes import A4, landscape
    from reportlab.platypus import LongTable, SimpleDocTemplate, TableStyle

    path = folder / "orders.pdf"
    look = TableStyle([("FONTSIZE", (0, 0), (-1, -1), 6), ("GRID", (0, 0), (-1, -1), 0.25, colors.grey)])
    story: list[Any] = []
    for rows in _rows(url, PDF_COLUMNS):
        cells = [[str(value) for value in row] for row in rows]
        for start in range(0, len(cells), 500):
            chunk = [list(PDF_COLUMNS), *cells[start : start + 500]]
            story.append(LongTable(chunk, colWidths=[78] * len(PDF_COLUMNS), repeatRows=1, style=look))
    SimpleDocTemplate(str(path), pagesize=landscape(A4), leftMargin=20, rightMargin=20).build(story)
    return path


def _rows(url: str, columns: tuple[str, ...] = ()) -> Iterator[Any]:
    import sqlalchemy as sa

    engine = sa.create_engine(url)
    selected = ", ".join(columns) or "*"
    with engine.connect().execution_options(yield_per=BATCH) as connection:
        yield from connection.execute(sa.text(f"SELECT {selected} FROM orders ORDER BY id")).partitions(BATCH)
    engine.dispose()


def _cell(value: Any) -> Any:
    """Return a value that a workbook's writer takes: no zones, no JSON objects, no UUIDs."""
    if isinstance(value, datetime):
        return value.replace(tzinfo=None)
    return value if value is None or isinstance(value, str | int | float | Decimal | date) else str(value)


@dataclass(frozen=True)
class Peer:
    """The formats it is compared with, the most rows it is given, what it imports, and itself."""

    formats: tuple[str, ...]
    most: int
    imports: tuple[str, ...]
    write: Callable[[str, Path], Path]


_SQL = ("sqlalchemy.dialects.postgresql", "psycopg2.extras")
PEERS = {
    "COPY TO": Peer(("csv", "json", "jsonl", "parquet"), 10_000_000, ("psycopg2",), copy_to),
    "csv module": Peer(("csv",), 100_000, _SQL, csv_module),
    "orjson rows": Peer(("json",), 100_000, (*_SQL, "orjson"), json_rows),
    "openpyxl": Peer(("excel",), 100_000, (*_SQL, "openpyxl"), openpyxl_write_only),
    "xlsxwriter": Peer(("excel",), 100_000, (*_SQL, "xlsxwriter"), xlsxwriter_constant),
    "LongTable": Peer(("pdf",), 50_000, (*_SQL, "reportlab.platypus"), long_table),
}
