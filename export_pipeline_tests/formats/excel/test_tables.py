"""Workbooks of table exports: zones, patterns, null texts, wide decimals, long tables."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import openpyxl
import pyarrow as pa
import pytest
from python_calamine import CalamineWorkbook

from export_pipeline.core.columns import Column, Kind
from export_pipeline.core.layout import Section, Total
from export_pipeline.core.tables import Table
from export_pipeline.formats.base import FileFacts
from export_pipeline.formats.excel import plan
from export_pipeline.formats.excel.numbers import DATE_OUT_OF_RANGE, DOUBLED_HOUR, KEEP_DIGITS, LESS_EXACT
from export_pipeline.formats.excel.readback import read_back
from export_pipeline_tests.formats.excel.books import (
    NAUGHTY,
    layout,
    one_column,
    table,
    validation_errors,
    values,
    write,
)


def test_times_are_those_of_the_columns_clock(tmp_path: Path) -> None:
    path = tmp_path / "b.xlsx"
    moments = [datetime(2026, 1, 15, 17, 30, tzinfo=UTC), None, datetime(2026, 7, 15, 17, 30, tzinfo=UTC)]
    write(one_column(Kind.TIMESTAMP, moments, zone="America/New_York"), path)
    sheet = openpyxl.load_workbook(path).active
    assert sheet is not None
    assert sheet["A3"].value == "C (America/New_York)"
    assert values(path) == [datetime(2026, 1, 15, 12, 30), None, datetime(2026, 7, 15, 13, 30)]


def test_a_clock_without_a_zone_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "b.xlsx"
    wall = pa.array([datetime(2026, 3, 29, 2, 30), None], pa.timestamp("us"))
    rendered = write(one_column(Kind.TIMESTAMP, wall, zone=None), path)
    sheet = openpyxl.load_workbook(path).active
    assert sheet is not None
    assert sheet["A3"].value == "C"
    assert values(path) == [datetime(2026, 3, 29, 2, 30)]
    assert not rendered.changed


def test_an_hour_that_comes_twice_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "b.xlsx"
    moments = [datetime(2026, 11, 1, hour, 30, tzinfo=UTC) for hour in (4, 5, 6, 7)]
    rendered = write(one_column(Kind.TIMESTAMP, moments, zone="America/New_York"), path)
    assert values(path) == [datetime(2026, 11, 1, hour, 30) for hour in (0, 1, 1, 2)]
    assert rendered.changed == {(DOUBLED_HOUR, "C"): 2}


def test_ends_of_time_in_a_zone_are_text(tmp_path: Path) -> None:
    path = tmp_path / "b.xlsx"
    micros = pa.array([-(2**63), 2**63 - 1, 0], pa.int64()).cast(pa.timestamp("us", "UTC"))
    rendered = write(one_column(Kind.TIMESTAMP, micros, zone="Asia/Kolkata"), path)
    assert values(path)[2] == datetime(1970, 1, 1, 5, 30)
    assert rendered.changed == {(DATE_OUT_OF_RANGE, "C"): 2}


def test_microseconds_that_no_cell_can_hold_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "b.xlsx"
    moments = [datetime(2025, 1, 1, 1, 2, 3, 456_789, UTC), datetime(9000, 1, 1, 1, 2, 3, 456_789, UTC)]
    rendered = write(one_column(Kind.TIMESTAMP, moments), path, {"layout": "plain"})
    assert rendered.changed == {(LESS_EXACT, "C"): 1}


def test_a_report_cuts_seconds_so_that_no_program_shows_the_next_hour_or_year(tmp_path: Path) -> None:
    moments = [
        datetime(2026, 12, 31, 23, 59, 59, 999_999, UTC),
        datetime(1969, 12, 31, 23, 59, 59, 1, UTC),
        datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    ]
    rendered = write(one_column(Kind.TIMESTAMP, moments), tmp_path / "b.xlsx")
    assert rendered.changed == {("cut to the second", "C"): 2}
    cells = [row.value for row in openpyxl.load_workbook(tmp_path / "b.xlsx").worksheets[0]["A"][3:]]
    assert cells == [moment.replace(microsecond=0, tzinfo=None) for moment in moments]


def test_a_plain_workbook_has_its_header_in_row_1_and_nothing_but_rows(tmp_path: Path) -> None:
    columns = [Column("n", "N", Kind.INTEGER), Column("at", "At", Kind.TIMESTAMP)]
    at = datetime(2026, 12, 31, 23, 59, 59, 500_000, UTC)
    rows = table(columns, {"n": [1, 2], "at": [at, at]})
    section = Section(
        "s", "S", rows, lines=("For: Acme",), totals=(Total("Total", {"n": 3}),), counts=True, sums=("n",)
    )
    write(layout(section), tmp_path / "b.xlsx", {"layout": "plain"})
    sheet = openpyxl.load_workbook(tmp_path / "b.xlsx").worksheets[0]
    cells = [list(row) for row in sheet.iter_rows(values_only=True)]
    assert cells == [["N", "At (UTC)"], [1, at.replace(tzinfo=None)], [2, at.replace(tzinfo=None)]]
    assert sheet.freeze_panes == "A2"
    assert read_back(tmp_path / "b.xlsx") == FileFacts(2, {"n": 3.0})


@pytest.mark.parametrize(
    ("kind", "pattern", "form"),
    [
        (Kind.DATE, "MMM dd, yyyy", "mmm dd, yyyy"),
        (Kind.DATE, "dd.MM.yyyy", "dd.mm.yyyy"),
        (Kind.DATE, "MM/dd/yyyy", "mm\\/dd\\/yyyy"),
        (Kind.TIMESTAMP, "yyyy-MM-ddTHH:mm:ss", "yyyy\\-mm\\-dd\\Thh:mm:ss"),
        (Kind.DATE, None, "yyyy\\-mm\\-dd"),
    ],
)
def test_a_pattern_is_a_number_format(kind: Kind, pattern: str | None, form: str, tmp_path: Path) -> None:
    path = tmp_path / "b.xlsx"
    made = date(2026, 3, 4) if kind is Kind.DATE else datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
    write(one_column(kind, [made], pattern=pattern), path)
    cell = openpyxl.load_workbook(path).worksheets[0]["A4"]
    assert cell.number_format == form
    assert cell.is_date
    assert cell.value == (made.replace(tzinfo=None) if isinstance(made, datetime) else datetime(2026, 3, 4))


NULLS: dict[Kind, list[Any]] = {
    Kind.TEXT: ["a", None, "", "N/A"],
    Kind.ENUM: ["a"] * 40 + [None],
    Kind.INTEGER: [None, 2**60, 7],
    Kind.DECIMAL: [Decimal("1.5"), None],
    Kind.MONEY: [None, Decimal("1.5")],
    Kind.FLOAT: [1.5, None, float("inf")],
    Kind.BOOLEAN: [True, None, False],
    Kind.DATE: [date(2026, 1, 2), None],
    Kind.TIMESTAMP: [None, datetime(2026, 1, 2)],
    Kind.PERCENT: [None, None],
}


@pytest.mark.parametrize("kind", NULLS)
@pytest.mark.parametrize("null", ["N/A", "<—> & \"'", "-"])
def test_a_text_stands_for_what_is_missing(kind: Kind, null: str, tmp_path: Path) -> None:
    path = tmp_path / "b.xlsx"
    cells = NULLS[kind]
    write(one_column(kind, cells, null=null), path)
    read = values(path)
    assert [text for text, cell in zip(read, cells, strict=True) if cell is None] == [null] * cells.count(
        None
    )
    assert all(text != null for text, cell in zip(read, cells, strict=True) if cell not in (None, "N/A"))
    other = CalamineWorkbook.from_path(str(path)).get_sheet_by_index(0).to_python()[3:]
    assert [row[0] == null for row in other] == [text == null for text in read]


@pytest.mark.slow
@pytest.mark.parametrize("null", ["N/A", "0", 'a "b" & c'])
def test_missing_values_count_in_no_sum(null: str, tmp_path: Path) -> None:
    path = tmp_path / "b.xlsx"
    columns = (Column("n", "N", Kind.INTEGER, null=null), Column("d", "D", Kind.DECIMAL, null=null))
    numbers = [1, None, 2**60, None, 5] * 300
    decimals = [None, Decimal("0.5"), None, Decimal("12345678901234567.5"), None] * 300
    totals = (Total("Total", {"n": sum(n for n in numbers if n)}),)
    rows = table(columns, {"n": numbers, "d": decimals}, batch_rows=400)
    write(layout(Section("s", "S", rows, counts=True, sums=("n", "d"), totals=totals)), path)
    facts = read_back(path)
    assert facts.problems == ()
    assert facts.totals == pytest.approx({"n": 300 * (2**60 + 6), "d": 300 * 12345678901234568.0}, rel=1e-14)
    assert validation_errors(path) == []


def test_another_text_in_a_summed_column_spoils_its_sum(tmp_path: Path) -> None:
    path = tmp_path / "b.xlsx"
    rows = table((Column("n", "N", Kind.INTEGER, null="N/A"),), {"n": [1, None]})
    write(layout(Section("s", "S", rows, counts=True, sums=("n",))), path)
    with ZipFile(path) as book:
        parts = {name: book.read(name) for name in book.namelist()}
    sheet = "xl/worksheets/sheet1.xml"
    parts[sheet] = parts[sheet].replace(b">N/A<", b">n/a<")
    with ZipFile(path, "w", 8) as book:
        for name, data in parts.items():
            book.writestr(name, data)
    total = read_back(path).totals["n"]
    assert total != total


def test_decimals_of_any_width_keep_every_digit(tmp_path: Path) -> None:
    path = tmp_path / "b.xlsx"
    numbers = [
        Decimal("9" * 40 + "." + "9" * 30),
        Decimal("-0." + "0" * 29 + "1"),
        Decimal("123456.789"),
        Decimal("123456789012345"),
        Decimal("1234567890123456"),
        None,
        Decimal(0),
    ]
    column = Column("c", "C", Kind.DECIMAL, precision=(76, 30))
    data = table([column], {"c": pa.array(numbers, column.arrow_type)})
    rendered = write(layout(Section("s", "S", data, counts=True, sums=("c",))), path)
    read = values(path)
    assert [None if value is None else Decimal(str(value)) for value in read] == numbers
    assert [type(value) for value in read] == [str, float, float, int, str, type(None), int]
    assert rendered.changed == {(KEEP_DIGITS, "C"): 2}
    sheet = openpyxl.load_workbook(path).active
    assert sheet is not None
    assert sheet["A4"].alignment.horizontal == "right"
    assert read_back(path).problems == ()


def test_options_name_the_sheet_its_currency_and_let_the_header_go(tmp_path: Path) -> None:
    path = tmp_path / "b.xlsx"
    options = {"sheet_title": "Q1: ledger", "currency": "€", "freeze": False}
    write(one_column(Kind.MONEY, [Decimal("1.5")], currency="$"), path, options)
    sheet = openpyxl.load_workbook(path).active
    assert sheet is not None
    assert sheet.title == "Q1_ ledger"
    assert sheet.freeze_panes is None
    assert "€" in sheet["A4"].number_format
    write(one_column(Kind.MONEY, [Decimal("1.5")]), path, {"sheet_title": "", "currency": ""})
    sheet = openpyxl.load_workbook(path).active
    assert sheet is not None
    assert (sheet.title, sheet.freeze_panes, sheet["A4"].number_format[:3]) == ("S", "A4", '"$"')


@pytest.mark.slow
def test_equal_headers_stay_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "b.xlsx"
    columns = (Column("a", "Name", Kind.TEXT), Column("b", "Name", Kind.TEXT))
    write(layout(Section("s", "S", table(columns, {"a": ["x"], "b": ["y"]}), counts=True)), path)
    rows = CalamineWorkbook.from_path(str(path)).get_sheet_by_index(0).to_python()
    assert rows[-2:] == [["Name", "Name"], ["x", "y"]]
    assert validation_errors(path) == []


@pytest.mark.slow
def test_more_rows_than_a_sheet_holds(tmp_path: Path) -> None:
    path = tmp_path / "b.xlsx"
    rows, step = 1_100_000, 50_000
    column = Column("n", "N", Kind.INTEGER)

    def opened() -> Iterator[pa.RecordBatch]:
        for start in range(0, rows, step):
            yield pa.RecordBatch.from_arrays([pa.array(range(start, start + step), pa.int64())], ["n"])

    long = Table("rows", (column,), rows, opened)
    rendered = write(layout(Section("s", "Data", long, counts=True, sums=("n",))), path)
    room = plan.MAX_ROWS - 4
    assert (rendered.rows, len(rendered.warnings)) == (rows, 1)
    book = CalamineWorkbook.from_path(str(path))
    assert book.sheet_names == ["Index", "Data", "Data (part 2)"]
    assert book.get_sheet_by_name("Index").to_python()[-2:] == [
        ["Data", 1.0, room, room],
        ["Data (part 2)", room + 1.0, rows, rows - room],
    ]
    last = book.get_sheet_by_name("Data (part 2)").to_python()
    assert last[0] == ["Data (part 2)"]
    assert last[2] == ["N"]
    assert [row[0] for row in last[3:]] == list(range(room, rows))
    assert book.get_sheet_by_name("Data").end == (plan.MAX_ROWS - 2, 0)
    facts = read_back(path)
    assert (facts.rows, facts.totals, facts.problems) == (rows, {"n": rows * (rows - 1) / 2}, ())


def test_hostile_tables_read_the_same_in_two_other_programs(tmp_path: Path) -> None:
    path = tmp_path / "b.xlsx"
    kinds = {
        Kind.TEXT: [*NAUGHTY, "x" * 40_000, None],
        Kind.INTEGER: [2**63 - 1, -(2**63), 0, None, 10**15 - 1, 10**15],
        Kind.DECIMAL: [Decimal("0.0000000001"), Decimal("-12345678901234567890.1234567891"), None],
        Kind.FLOAT: [float("nan"), float("inf"), 5e-324, 1e308, -0.0, 0.1, None],
        Kind.BOOLEAN: [True, False, None],
        Kind.DATE: [date(1, 1, 1), date(1900, 2, 28), date(1900, 3, 1), date(9999, 12, 31), None],
        Kind.TIMESTAMP: [datetime(1, 1, 1), datetime(2026, 10, 25, 0, 30), datetime(9999, 12, 31), None],
        Kind.URL: ["https://example.com/?a=1&b=<2>", None],
    }
    count = max(len(cells) for cells in kinds.values())
    columns = tuple(Column(k.value, k.value, k, null="N/A", zone="Europe/Berlin") for k in kinds)
    data = {k.value: [cells[i % len(cells)] for i in range(count)] for k, cells in kinds.items()}
    rows = table(columns, data, batch_rows=5)
    write(layout(Section("s", "S", rows, counts=True, sums=("decimal", "float"))), path)
    assert validation_errors(path) == []
    assert read_back(path).problems == ()
    one = openpyxl.load_workbook(path).worksheets[0]
    two = CalamineWorkbook.from_path(str(path)).get_sheet_by_index(0).to_python()
    for row, other in zip(one.iter_rows(min_row=4, values_only=True), two[3:], strict=True):
        assert [_plain(cell) for cell in row] == [_plain(cell) for cell in other]


def _plain(cell: object) -> object:
    if isinstance(cell, datetime) and (cell.hour, cell.minute, cell.second) == (0, 0, 0):
        return cell.date()
    return "" if cell is None else cell
