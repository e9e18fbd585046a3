"""Charts of a workbook: drawn from a few cells beside them, never from the rows, and proven by reading back."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import openpyxl
import pytest

from export_pipeline.core.charts import Chart, Series
from export_pipeline.core.columns import Column, Kind
from export_pipeline.core.layout import Layout, Proof
from export_pipeline.formats.base import Rendered
from export_pipeline.formats.comparison import chart_problems, rows_agree
from export_pipeline.formats.excel.readback import read_back
from export_pipeline_tests.formats.excel.books import (
    NAUGHTY,
    one_column,
    project,
    recalculated,
    validation_errors,
    write,
)
from export_pipeline_tests.tools import require_tool

MONEY = Column("profit", "Profit", Kind.MONEY, digits=2, currency="€")
ROWS = Column("rows", "Rows", Kind.INTEGER)
SALES = Chart(
    "column",
    "Sales & <profit>",
    "Month",
    ("Jan 2026", "Feb 2026", "None"),
    (
        Series("Sales", MONEY, (Decimal("10.10"), Decimal("0"), Decimal("3")), Decimal("13.10"), "sales"),
        Series("Profit", MONEY, (Decimal("-1.05"), Decimal("0.1"), Decimal("1")), Decimal("0.05"), "profit"),
    ),
)
TYPES = (
    SALES,
    replace(SALES, type="bar", stacked=True),
    replace(SALES, type="line"),
    replace(SALES, type="pie", series=(Series("Rows", ROWS, (3, 2, 1), 6),)),
)


def with_charts(*charts: Chart) -> Layout:
    return replace(one_column(Kind.INTEGER, list(range(50))), charts=charts)


def test_every_type_of_chart_is_drawn_from_its_cells(tmp_path: Path) -> None:
    path = tmp_path / "b.xlsx"
    write(with_charts(*TYPES), path)
    assert validation_errors(path) == []
    book = openpyxl.load_workbook(path)
    assert book.sheetnames == ["S", "Charts"]
    sheet = book["Charts"]
    kinds = [(chart.tagname, len(chart.series)) for chart in sheet._charts]
    assert kinds == [("barChart", 2), ("barChart", 2), ("lineChart", 2), ("pieChart", 1)]
    assert [chart.barDir for chart in sheet._charts[:2]] == ["col", "bar"]
    assert [chart.grouping for chart in sheet._charts[:2]] == ["clustered", "stacked"]
    drawn = sheet._charts[0].series[1]
    assert drawn.val.numRef.f == "'Charts'!$C$5:$C$7"
    assert drawn.cat.strRef.f == "'Charts'!$A$5:$A$7"
    assert [row[0].value for row in sheet["A5:A7"]] == ["Jan 2026", "Feb 2026", "None"]
    assert [row[0].value for row in sheet["C5:C7"]] == [-1.05, 0.1, 1]
    assert sheet["C5"].number_format == '"€"#,##0.00;-"€"#,##0.00'
    assert (sheet["A8"].value, sheet["C8"].value) == ("Total", "=SUM(C5:C7)")


@pytest.mark.parametrize(
    ("values", "least", "most"), [((100, 99), 0, None), ((-9, -10), None, 0), ((-1, 1), None, None)]
)
def test_bars_begin_at_zero_so_that_their_lengths_can_be_compared(
    values: tuple[int, int], least: float | None, most: float | None, tmp_path: Path
) -> None:
    path = tmp_path / "b.xlsx"
    series = (Series("Rows", ROWS, values, sum(values)),)
    chart = replace(SALES, categories=("a", "b"), series=series)
    write(with_charts(chart, replace(chart, type="line")), path)
    assert validation_errors(path) == []
    bars, line = openpyxl.load_workbook(path)["Charts"]._charts
    assert (bars.y_axis.scaling.min, bars.y_axis.scaling.max) == (least, most)
    assert (line.y_axis.scaling.min, line.y_axis.scaling.max) == (None, None)


def test_the_sheet_says_whose_charts_these_are(tmp_path: Path) -> None:
    path = tmp_path / "b.xlsx"
    facts = (("For", "Smith & Sons"), ("Period", "2026-03-01 to 2026-03-31"), ("Left out", "Id"))
    write(replace(with_charts(SALES), facts=facts), path)
    sheet = openpyxl.load_workbook(path)["Charts"]
    assert sheet["A2"].value == "For: Smith & Sons · Period: 2026-03-01 to 2026-03-31"


def test_the_values_are_read_back_from_the_cells(tmp_path: Path) -> None:
    path = tmp_path / "b.xlsx"
    write(with_charts(*TYPES), path)
    facts = read_back(path)
    assert facts.problems == ()
    assert facts.charts == tuple(chart.values for chart in TYPES)
    assert facts.charts[0] == (10.1, 0.0, 3.0, -1.05, 0.1, 1.0)


def damaged(path: Path, part: str, old: str, new: str) -> Path:
    other = path.with_name("damaged.xlsx")
    with ZipFile(path) as book, ZipFile(other, "w", ZIP_DEFLATED) as copy:
        for name in book.namelist():
            data = book.read(name)
            if name == part:
                assert old.encode() in data
                data = data.replace(old.encode(), new.encode(), 1)
            copy.writestr(name, data)
    return other


@pytest.mark.parametrize("part", ["xl/worksheets/sheet2.xml", "xl/charts/chart1.xml"])
def test_a_value_that_is_not_the_source_s_is_found(tmp_path: Path, part: str) -> None:
    path = tmp_path / "b.xlsx"
    made = with_charts(SALES)
    rendered = write(made, path)
    proof = Proof(50, {}, charts=(SALES.values,))
    assert rows_agree(proof, rendered, read_back(path))
    facts = read_back(
        damaged(
            path,
            part,
            "<c:v>10.1<" if "chart1" in part else "<v>10.1<",
            "<v>10.2<" if "chart1" not in part else "<c:v>10.2<",
        )
    )
    assert facts.problems == ("chart 1 of sheet 'Charts' does not show the values of its cells",)
    assert not rows_agree(proof, rendered, facts)


def test_cells_and_chart_that_agree_on_a_wrong_value_are_found(tmp_path: Path) -> None:
    path = tmp_path / "b.xlsx"
    write(with_charts(SALES), path)
    facts = read_back(path)
    wrong = Proof(50, {}, charts=((*SALES.values[:-1], 99.0),))
    assert chart_problems(wrong, facts) == ["chart 1 shows other values than its groups have"]
    assert not rows_agree(wrong, Rendered(50), facts)
    missing = Proof(50, {}, charts=(SALES.values, SALES.values))
    assert chart_problems(missing, facts) == ["1 charts in the file, 2 expected"]


def test_hostile_names_are_text_in_cells_and_charts(tmp_path: Path) -> None:
    path = tmp_path / "b.xlsx"
    chart = Chart(
        "bar", "=1+1 ]]>", "@x", NAUGHTY, (Series("=2+2", ROWS, tuple(range(len(NAUGHTY))), 231),), False
    )
    write(with_charts(chart), path)
    assert validation_errors(path) == []
    assert read_back(path).problems == ()
    sheet = openpyxl.load_workbook(path)["Charts"]
    assert all(cell.data_type != "f" for cell in sheet["A"])
    assert sheet["A4"].value == "@x"


def test_the_largest_chart_is_still_a_few_cells(tmp_path: Path) -> None:
    path = tmp_path / "b.xlsx"
    labels = tuple(f"c{n}" for n in range(41))
    series = tuple(Series(f"s{i}", ROWS, tuple(range(41)), 820) for i in range(6))
    made = replace(
        one_column(Kind.INTEGER, list(range(20_000))),
        charts=(Chart("column", "T", "G", labels, series, True),) * 6,
    )
    write(made, path)
    with ZipFile(path) as book:
        charts = [name for name in book.namelist() if re.fullmatch(r"xl/charts/chart\d+\.xml", name)]
        assert len(charts) == 6
        assert max(book.getinfo(name).file_size for name in charts) < 40_000
    assert len(read_back(path).charts) == 6


def test_a_sheet_named_charts_keeps_its_name(tmp_path: Path) -> None:
    path = tmp_path / "b.xlsx"
    made = one_column(Kind.INTEGER, [1])
    made = replace(made, sheets=(replace(made.sheets[0], title="charts"),), charts=(SALES,))
    write(made, path)
    assert openpyxl.load_workbook(path).sheetnames == ["charts", "Charts (2)"]
    assert read_back(path).charts == (SALES.values,)
    assert validation_errors(path) == []


def test_a_workbook_without_charts_has_no_parts_of_them(tmp_path: Path) -> None:
    path = tmp_path / "b.xlsx"
    write(project(), path)
    with ZipFile(path) as book:
        assert not [name for name in book.namelist() if "chart" in name or "drawing" in name]
    assert read_back(path).charts == ()


def test_a_guard_against_formulas_holds_for_charts(tmp_path: Path) -> None:
    path = tmp_path / "b.xlsx"
    chart = replace(SALES, categories=("=1+1", "b", "c"))
    rendered = write(with_charts(chart), path, {"guard_formulas": True})
    assert openpyxl.load_workbook(path)["Charts"]["A5"].value == "'=1+1"
    assert sum(rendered.changed.values()) >= 1


@pytest.mark.slow
def test_other_programs_draw_them(tmp_path: Path) -> None:
    path = tmp_path / "b.xlsx"
    write(with_charts(*TYPES), path)
    again = openpyxl.load_workbook(recalculated(path, tmp_path))
    assert len(again["Charts"]._charts) == len(TYPES)
    assert openpyxl.load_workbook(recalculated(path, tmp_path), data_only=True)["Charts"]["B8"].value == 13.1
    out = tmp_path / "gnumeric.csv"
    subprocess.run([require_tool("ssconvert"), "-S", path, out], check=True, capture_output=True, timeout=120)
    assert "Jan 2026" in (tmp_path / "gnumeric.csv.1").read_text()


def test_rows_and_charts_are_in_one_workbook(tmp_path: Path) -> None:
    path = tmp_path / "b.xlsx"
    made = replace(project(), charts=(SALES,))
    rendered = write(made, path)
    facts = read_back(path)
    assert facts.rows == rendered.rows == 100
    assert facts.problems == ()
    assert validation_errors(path) == []
