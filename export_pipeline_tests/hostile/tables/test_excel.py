"""Workbooks of random tables, as XML and as other programs read them: every cell as documented, or counted."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any
from zipfile import ZipFile
from zoneinfo import ZoneInfo

import openpyxl
import pytest
from lxml import etree
from python_calamine import CalamineWorkbook

from export_pipeline.formats.excel.names import column_letters
from export_pipeline_tests.hostile.rules import is_formula
from export_pipeline_tests.hostile.tables import rules
from export_pipeline_tests.hostile.tables.exporting import Exported, each_sample
from export_pipeline_tests.hostile.tables.rules import Changed
from export_pipeline_tests.hostile.tables.samples import Given
from export_pipeline_tests.hostile.tables.values import EPOCH, MICROSECOND, wall

_SHEET = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
KEEP_DIGITS = "written as text to keep every digit"
NOT_A_NUMBER = "not a number a cell can hold, written as text"
OLD_DATE = "date outside Excel's range, written as text"
MOVED = "longer than a cell, whole text on the Overflow sheet"
TWICE = "ambiguous time in the hour after clocks were put back"
CUT = "cut to the second"
ROUNDED_TOTAL = "total rounded to 15 digits"
LESS_EXACT = "time kept to 0.1 ms: no number of a cell holds its microseconds"
_NINETEEN_HUNDRED = -2_203_891_200_000_000  # 1900-03-01


def _sheet(path: Path) -> dict[int, dict[str, tuple[str, Any]]]:
    """The first sheet's cells by row number and letters: (type, value), numbers as they are written."""
    with ZipFile(path) as archive:
        shared: list[str] = []
        if "xl/sharedStrings.xml" in archive.namelist():
            root = etree.fromstring(archive.read("xl/sharedStrings.xml"), etree.XMLParser(huge_tree=True))
            shared = [
                "".join(t.text or "" for t in one.iter(f"{_SHEET}t")) for one in root.iter(f"{_SHEET}si")
            ]
        root = etree.fromstring(archive.read("xl/worksheets/sheet1.xml"), etree.XMLParser(huge_tree=True))
    rows: dict[int, dict[str, tuple[str, Any]]] = {}
    for row in root.iter(f"{_SHEET}row"):
        cells = rows.setdefault(int(row.get("r")), {})
        for cell in row.iter(f"{_SHEET}c"):
            kind, letters = cell.get("t", "n"), re.sub(r"\d", "", cell.get("r"))
            value = cell.findtext(f"{_SHEET}v")
            if kind == "inlineStr":
                kind, value = "s", "".join(t.text or "" for t in cell.iter(f"{_SHEET}t"))
            elif kind == "s":
                value = shared[int(value)]
            if kind != "n" or value is not None:
                cells[letters] = (kind, _decoded(value) if kind == "s" else value)
    return rows


def _decoded(text: str) -> str:
    """A text as spreadsheets read it: _x0041_ is A."""
    return re.sub("_x([0-9A-Fa-f]{4})_", lambda code: chr(int(code[1], 16)), text)


def _excel_cell(
    column: Given, value: Any, options: Any, count: Callable[[str], None]
) -> tuple[str, Any] | None:
    """The expected type and value of a cell, with numbers as exact as Excel's."""
    if value is None:
        return ("s", column.get("null_text", "")) if column.get("null_text") else None
    if column.kind in rules.TEXTS:
        text = str(rules.labelled(column, value))
        if options.get("excel_guard_formulas") and is_formula(text):
            count(rules.GUARDED)
            text = f"'{text}"
        if len(text.encode("utf-16-le")) > 2 * 32_767:
            count(MOVED)
            return ("moved", text)
        return ("s", text)
    if column.kind == "boolean":
        return ("b", "1" if value else "0")
    if column.kind == "date":
        if value < date(1900, 3, 1):
            count(OLD_DATE)
            return ("s", value.isoformat())
        return ("n", Fraction(value.toordinal() - date(1899, 12, 30).toordinal()))
    if column.kind == "timestamp":
        return _excel_time(value, column.get("zone", "UTC"), count)
    shown = rules.whole(column, value, True) if column.minor else value
    if isinstance(shown, float):
        if not (shown == 0 or 2.2250738585072014e-308 <= abs(shown) <= 9.99999999999999e307):
            count(NOT_A_NUMBER)
            return ("odd", shown)
        return ("n", Fraction(shown))
    if rules.significant(shown) > 15:
        count(KEEP_DIGITS)
        return ("s", Decimal(shown))
    return ("n", Fraction(Decimal(shown)))


def _excel_time(micros: int, zone: str | None, count: Callable[[str], None]) -> tuple[str, Any]:
    local = wall(micros, zone)
    if zone not in (None, "UTC") and rules.FIRST <= local <= rules.LAST:
        there = (EPOCH + local * MICROSECOND).replace(tzinfo=ZoneInfo(zone or ""))
        with suppress(OverflowError):
            if there.utcoffset() != there.replace(fold=1).utcoffset():
                count(TWICE)
    shown = local // 1_000_000 * 1_000_000
    if local < _NINETEEN_HUNDRED or Fraction(shown, 86_400_000_000) + 25_569 >= 2_958_466:
        count(OLD_DATE)
        return ("old", local)
    if shown != local:
        count(CUT)
    return ("time", shown)


def _says(
    cell: tuple[str, Any] | None, expected: tuple[str, Any] | None, count: Callable[[str], None]
) -> bool:
    if cell is None or expected is None:
        return cell == expected or (expected == ("s", "") and cell is None)
    kind, value = expected
    if kind == "n":
        return cell[0] == "n" and float(cell[1]) == float(value)
    if kind == "time":
        days = Fraction(cell[1]) if "E" not in cell[1].upper() else Fraction(float(cell[1]))
        near = round((Fraction(float(days)) - 25_569) * 86_400_000_000)
        if near != value:
            count(LESS_EXACT)
        return cell[0] == "n" and abs(near - value) <= 50
    if kind == "old":
        text = cell[1] if "." in cell[1] else f"{cell[1]}.000000"
        cycles = (value < rules.FIRST) - (value > rules.LAST)
        moment = EPOCH.replace(tzinfo=None) + (value + cycles * rules.CYCLE) * MICROSECOND
        rest = moment.isoformat("T", "microseconds")[4:]
        return cell[0] == "s" and text == f"{moment.year - 400 * cycles:04}{rest}"
    if kind == "moved":
        return cell[0] == "s" and cell[1].startswith("[see Overflow!")
    if isinstance(value, Decimal):
        return cell[0] == "s" and Decimal(cell[1]) == value
    if kind == "odd":
        return cell[0] == "s" and str(float(cell[1])) == str(value)
    return cell == expected


def check_excel(made: Exported) -> None:
    sample, options = made.sample, made.sample.options
    path, done = made.file("excel")
    rows = _sheet(path)
    heads = []
    for column in sample.columns:
        zone = column.get("zone", "UTC") if column.kind == "timestamp" else None
        heads.append(rules.header(column) + (f" ({zone})" if zone else ""))
    # The title, lines of facts, an empty row, the header.
    top = next(number for number, cells in rows.items() if number > 2 and cells and not rows.get(number - 1))
    letters = [column_letters(index) for index in range(len(heads))]
    changed: Changed = Counter()
    for column in sample.columns:
        if options.get("excel_guard_formulas") and is_formula(rules.header(column)):
            changed[rules.GUARDED, rules.header(column)] += 1
    guarded = [f"'{h}" if options.get("excel_guard_formulas") and is_formula(h) else h for h in heads]
    found_heads = [rows[top].get(letter, ("s", ""))[1] for letter in letters]
    assert found_heads == guarded
    for row in range(sample.rows):
        cells = rows.get(top + 1 + row, {})
        for (column, value), letter in zip(rules.of(sample, row), letters, strict=True):

            def count(reason: str, above: str = rules.header(column)) -> None:
                changed[reason, above] += 1

            expected = _excel_cell(column, value, options, count)
            assert _says(cells.get(letter), expected, count), (
                column.spec,
                value,
                cells.get(letter),
                expected,
            )
    for column in sample.columns:
        if sample.rows and column.get("total") and (reason := _odd_total(column)):
            changed[reason, rules.header(column)] += 1
    assert done.changed == changed, (done.changed - changed, changed - done.changed)
    _calamine_and_openpyxl(path, top, sample.rows, letters, rows)


def _odd_total(column: Given) -> str | None:
    """Return the reason why a total is not the exact number."""
    numbers = [
        rules.whole(column, v, True) if column.minor else v for v in rules.values(column) if v is not None
    ]
    if column.kind in ("float", "percent"):
        total = sum((Fraction(number) for number in numbers if math.isfinite(number)), Fraction())
        return (
            NOT_A_NUMBER
            if abs(total) > 9.99999999999999e307 or 0 < abs(total) < 2.2250738585072014e-308
            else None
        )
    exact = sum((Fraction(number) for number in numbers), Fraction())
    digits = str(abs(exact.numerator * 10**100 // exact.denominator)).strip("0")
    return ROUNDED_TOTAL if len(digits) > 15 else None


def _calamine_and_openpyxl(
    path: Path, top: int, count: int, letters: list[str], rows: dict[int, Any]
) -> None:
    """Both find the same texts, numbers and booleans in the rows."""
    theirs = CalamineWorkbook.from_path(str(path)).get_sheet_by_index(0).to_python(skip_empty_area=False)
    book = openpyxl.load_workbook(path)
    for number in range(top, top + count + 1):
        for index, letter in enumerate(letters):
            ours = rows.get(number, {}).get(letter)
            line = theirs[number - 1] if number <= len(theirs) else []
            one, other = line[index] if index < len(line) else "", book.worksheets[0][f"{letter}{number}"]
            assert other.data_type != "f"
            if ours is None:
                assert one == ""
                assert other.value in (None, "")
            elif ours[0] == "s":
                assert one == ours[1]
                if "_x" not in ours[1]:  # openpyxl knows such codes only in one place
                    assert (other.value or "") == ours[1]
            elif ours[0] == "b":
                assert one is other.value is (ours[1] == "1")
            elif isinstance(one, float) and isinstance(other.value, int | float):
                assert one == float(other.value) == float(ours[1])


@pytest.mark.slow
def test_excel_says_what_the_database_says(database: tuple[str, str, Path]) -> None:
    each_sample(database, check_excel)
