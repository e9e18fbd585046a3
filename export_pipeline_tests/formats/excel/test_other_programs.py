"""The Open XML SDK, LibreOffice and Gnumeric read the workbooks."""

import csv
import math
import re
import subprocess
from datetime import date
from decimal import Decimal
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import openpyxl
import pytest

from export_pipeline.core.columns import Column, Kind
from export_pipeline.core.layout import Group, Layout, Section, Total
from export_pipeline_tests.formats.excel.books import (
    NAUGHTY,
    layout,
    project,
    recalculated,
    table,
    validation_errors,
    write,
)
from export_pipeline_tests.tools import require_tool

UNITS = ("LF", "SF", "lf", "", 'a "q"', "=1", ">5", "*", "a?c", "12", "TRUE", "ünit", " LF", "_x0041_")


def hostile() -> Layout:
    """Names, texts, numbers and criteria that break workbooks."""
    columns = (
        Column("unit", "=cmd|'/C calc'!A0", Kind.ENUM),
        Column("n", "N <&> \"'", Kind.FLOAT),
        Column("text", "", Kind.TEXT),
        Column("big", "Big", Kind.INTEGER),
        Column("day", "Day", Kind.DATE),
        Column("money", "Money", Kind.MONEY, currency='R"$ €'),
        Column("odd", "Odd", Kind.FLOAT, digits=2),
    )
    rows = len(UNITS) * 20
    data = table(
        columns,
        {
            "unit": [UNITS[i % len(UNITS)] or None for i in range(rows)],
            "n": [i / 8 for i in range(rows)],
            "text": [(NAUGHTY[i % len(NAUGHTY)] + "\x00") * (1 + 9000 * (i % 50 == 3)) for i in range(rows)],
            "big": [2**63 - 1 - i for i in range(rows)],
            "day": [date(1 + i * 7 % 9999, 1, 1) for i in range(rows)],
            "money": [Decimal(i) / 100 for i in range(rows)],
            "odd": [(math.nan, math.inf, 1.0, None)[i % 4] for i in range(rows)],
        },
    )
    totals = [
        Total(
            f"Total {unit}",
            {"n": math.fsum(i / 8 for i in range(rows) if UNITS[i % len(UNITS)] == unit)},
            ("unit", unit),
        )
        for unit in UNITS
    ]
    totals.append(
        Total(
            "All",
            {
                "n": rows * (rows - 1) / 16,
                "odd": math.nan,
                "big": 2**64,
                "money": Decimal(rows * (rows - 1)) / 200,
            },
        )
    )
    sections = [Section("s", "=1+1", data, lines=("=2+2", "+cmd", "]]>"), totals=tuple(totals), counts=True)]
    names = [
        "Summary",
        "SUMMARY",
        "'",
        "A/B",
        "a:b",
        "History",
        "=1+1",
        "x" * 40,
        "x" * 41,
        "R1C1",
        "\x00\x1f",
        "🏗" * 20,
    ]
    groups = tuple(Group(name, 0, (name,)) for name in names)
    empty = table((Column("c", "C", Kind.TEXT),), {"c": []})
    sections.append(Section("g", "G", empty, groups=groups))
    return layout(*sections, title="<title> & \x01 more")


@pytest.mark.slow
@pytest.mark.parametrize("guard", [False, True])
@pytest.mark.parametrize("make", [project, hostile])
def test_the_open_xml_sdk_finds_nothing_wrong(make: object, guard: bool, tmp_path: Path) -> None:
    path = tmp_path / "b.xlsx"
    write(make(), path, {"guard_formulas": guard})  # type: ignore[operator]
    assert validation_errors(path) == []
    openpyxl.load_workbook(path)


@pytest.mark.slow
def test_libreoffice_calculates_every_total_to_the_printed_value(tmp_path: Path) -> None:
    path = tmp_path / "b.xlsx"
    made = hostile()
    both = Layout(made.title, made.created, made.main, {}, (*made.sheets, *project().sheets), ())
    write(both, path)
    printed = openpyxl.load_workbook(path, data_only=True)
    formulas = openpyxl.load_workbook(path)
    # Without cached results a program must calculate; with them it could repeat what it was told.
    bare = tmp_path / "bare.xlsx"
    with ZipFile(path) as old, ZipFile(bare, "w", ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, _without_cached_results(old.read(name).decode()))
    calculated = openpyxl.load_workbook(recalculated(bare, tmp_path), data_only=True)
    checked = 0
    for sheet in formulas.sheetnames:
        for row in formulas[sheet].iter_rows():
            for cell in row:
                if cell.data_type == "f":
                    checked += 1
                    ours, theirs = (
                        printed[sheet][cell.coordinate].value,
                        calculated[sheet][cell.coordinate].value,
                    )
                    assert theirs == pytest.approx(ours, rel=1e-12), (sheet, cell.coordinate, cell.value)
    assert checked == len(UNITS) + 19


def _one_line_end(value: object) -> object:
    """LibreOffice shows every kind of line end as one and the same."""
    return value.replace("\r\n", "\n").replace("\r", "\n") if isinstance(value, str) else value


def _without_cached_results(xml: str) -> str:
    return re.sub(r"(</f>)<v>[^<]*</v>", r"\1", xml)


@pytest.mark.slow
def test_libreoffice_reads_the_same_values(tmp_path: Path) -> None:
    path = tmp_path / "b.xlsx"
    write(project(), path)
    ours = openpyxl.load_workbook(path, data_only=True)
    theirs = openpyxl.load_workbook(recalculated(path, tmp_path), data_only=True)
    assert theirs.sheetnames == ours.sheetnames
    for sheet in ours.sheetnames:
        for one, other in zip(ours[sheet].iter_rows(), theirs[sheet].iter_rows(), strict=True):
            for mine, yours in zip(one, other, strict=True):
                value, seen = _one_line_end(mine.value), _one_line_end(yours.value)
                if isinstance(value, float):
                    assert seen == pytest.approx(value, rel=1e-14)
                else:
                    assert (seen or "") == (value or "") or seen == value


def test_gnumeric_reads_the_same_texts(tmp_path: Path) -> None:
    path, out = tmp_path / "b.xlsx", tmp_path / "b.csv"
    texts = ["=1+1", "漢字 & <b>", " both ends ", "00123"]
    data = table((Column("c", "C", Kind.TEXT),), {"c": texts})
    write(layout(Section("s", "S", data, counts=True)), path)
    subprocess.run([require_tool("ssconvert"), path, out], check=True, capture_output=True, timeout=240)
    with out.open(newline="") as lines:
        assert [row[0] if row else "" for row in csv.reader(lines)][3:] == texts


@pytest.mark.slow
def test_many_sheets_open_in_libreoffice(tmp_path: Path) -> None:
    path = tmp_path / "b.xlsx"
    groups = tuple(Group(f"Condition {i}", 2, totals=(Total("T", {"n": 4.0 * i + 1.0}),)) for i in range(60))
    columns = (Column("k", "K", Kind.TEXT), Column("n", "N", Kind.FLOAT))
    data = table(columns, {"k": ["x"] * 120, "n": [float(i) for i in range(120)]})
    write(layout(Section("s", "S", data, groups=groups, counts=True)), path)
    assert validation_errors(path) == []
    book = openpyxl.load_workbook(recalculated(path, tmp_path), data_only=True)
    assert len(book.sheetnames) == 60
    assert [book[f"Condition {i}"]["B6"].value for i in (0, 59)] == [1.0, 237.0]
