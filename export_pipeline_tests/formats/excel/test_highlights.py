"""Highlights of cells: bars, scales and colours, which other programs evaluate as Excel does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import openpyxl
import pytest

from export_pipeline.core.columns import Column, Kind
from export_pipeline.core.highlights import Highlight
from export_pipeline.core.layout import Layout, Section
from export_pipeline.formats.excel.readback import read_back
from export_pipeline.tabular.validation import CheckedTableSpec
from export_pipeline_tests.formats.excel.books import layout, recalculated, table, validation_errors, write

COLUMNS = (
    Column("n", "N", Kind.FLOAT),
    Column("status", "Status", Kind.ENUM),
    Column("paid", "Paid", Kind.BOOLEAN),
)
HIGHLIGHTS = (
    Highlight("n", look="data_bar"),
    Highlight("n", look="color_scale"),
    Highlight("n", below=0.0, color="red"),
    Highlight("n", above=1e6, color="green"),
    Highlight("status", values=('Late "x"', "a<b"), color="amber"),
    Highlight("paid", values=(False,), color="blue"),
    Highlight("gone", below=1.0),
)


def book(rows: int = 4) -> Layout:
    data = {
        "n": [-1.0, None, 5.0, 2e6][:rows],
        "status": ['Late "x"', "late", None, "a<b"][:rows],
        "paid": [True, None, False, None][:rows],
    }
    section = Section("s", "S", table(COLUMNS, data), counts=True, highlights=HIGHLIGHTS)
    return layout(section)


def test_each_highlight_is_a_rule_of_its_column_s_rows(tmp_path: Path) -> None:
    path = tmp_path / "b.xlsx"
    write(book(), path)
    assert validation_errors(path) == []
    assert read_back(path).problems == ()
    sheet = openpyxl.load_workbook(path)["S"]
    rules = {
        (str(area.sqref), rule.type, *rule.formula, rule.dxf.fill.bgColor.rgb if rule.dxf else "")
        for area in sheet.conditional_formatting
        for rule in area.rules
    }
    assert rules == {
        ("A4:A7", "dataBar", ""),
        ("A4:A7", "colorScale", ""),
        ("A4:A7", "expression", "AND(ISNUMBER(A4),A4<0.0)", "FFFFC7CE"),
        ("A4:A7", "expression", "AND(ISNUMBER(A4),A4>1000000.0)", "FFC6EFCE"),
        ("B4:B7", "expression", 'OR(EXACT(B4,"Late ""x"""),EXACT(B4,"a<b"))', "FFFFEB9C"),
        ("C4:C7", "expression", "OR(AND(ISLOGICAL(C4),C4=FALSE))", "FFDDEBF7"),
    }
    priorities = [rule.priority for area in sheet.conditional_formatting for rule in area.rules]
    assert sorted(priorities) == list(range(1, 7))


@pytest.mark.slow
def test_other_programs_keep_the_rules(tmp_path: Path) -> None:
    path = tmp_path / "b.xlsx"
    write(book(), path)
    sheet = openpyxl.load_workbook(recalculated(path, tmp_path))["S"]
    assert sum(len(area.rules) for area in sheet.conditional_formatting) == 6


def test_a_plain_workbook_and_an_empty_table_have_none(tmp_path: Path) -> None:
    path = tmp_path / "b.xlsx"
    for made, options in ((book(), {"layout": "plain"}), (book(0), {})):
        write(made, path, options)
        assert len(openpyxl.load_workbook(path)["S"].conditional_formatting) == 0
        assert validation_errors(path) == []


def spec_with(**highlight: Any) -> CheckedTableSpec:
    columns = [
        {"name": "id", "type": "integer"},
        {"name": "paid", "type": "boolean"},
        {"name": "city"},
        {"name": "cents", "type": "money"},
    ]
    return CheckedTableSpec.model_validate(
        {"source": {"table": "t"}, "columns": columns, "highlights": [highlight]}
    )


@pytest.mark.parametrize(
    ("highlight", "message"),
    [
        ({"column": "citi", "below": 1}, "city"),
        ({"column": "city", "below": 1}, "city is text; only numbers are compared and drawn"),
        ({"column": "city", "look": "data_bar"}, "only numbers"),
        ({"column": "city", "equals": 5}, "5.0 is a number, city text"),
        ({"column": "paid", "equals": "yes"}, "'yes' is a text or enum, paid boolean"),
        ({"column": "cents"}, "say one of look, below, above and equals"),
        ({"column": "cents", "below": 1, "above": 2}, "say one of"),
        ({"column": "cents", "below": 1, "color": "pink"}, "red"),
        ({"column": "cents", "below": float("nan")}, "finite"),
    ],
)
def test_a_highlight_that_means_nothing_is_refused(highlight: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        spec_with(**highlight)


def test_values_may_be_given_alone() -> None:
    assert spec_with(column="paid", equals=False).highlights[0].equals == [False]
