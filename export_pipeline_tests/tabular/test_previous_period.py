"""Comparisons need windows with a period before them, and money of one currency."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from pydantic import ValidationError

from export_pipeline.core.export_data import PreviousGroup
from export_pipeline.core.windows import Window
from export_pipeline.formats.registry import FORMATS
from export_pipeline.tabular import layout
from export_pipeline.tabular.validation import CheckedTableSpec
from export_pipeline_tests.formats.excel.books import recalculated, validation_errors
from export_pipeline_tests.tabular.random_exports import staged

PRICE = {"name": "price_cents", "type": "money", "total": True}


def problems(*columns: dict[str, Any], **more: Any) -> list[str]:
    """The problems that are reported at `compare`."""
    spec = {"source": {"table": "t"}, "columns": [*columns], "compare": "previous_period", **more}
    try:
        CheckedTableSpec.model_validate(spec)
    except ValidationError as error:
        assert {one["loc"] for one in error.errors()} == {("compare",)}
        return [one["msg"].removeprefix("Value error, ") for one in error.errors()]
    return []


def test_a_window_with_money_can_be_compared() -> None:
    assert problems(PRICE, window={"column": "day", "type": "date"}) == []


@pytest.mark.parametrize(
    ("columns", "window", "message"),
    [
        ([PRICE], None, "this export has no window, so no period before it"),
        ([PRICE], {"mode": "as_of"}, "`window: {mode: as_of}` has all rows up to an end, so no period before it"),
        ([{**PRICE, "total": False}], {}, "no column of money has `total: true`"),
        ([PRICE, {**PRICE, "name": "fee", "currency": "EUR"}], {},
         "sums of several currencies cannot stand in one table: price_cents ($), fee (EUR)"),
        ([{**PRICE, "name": "wide", "type": "money(70,2)"}], {}, "wide has more than 66 digits, too many to add up"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_refused(
    columns: list[dict[str, Any]], window: dict[str, Any] | None, message: str
) -> None:
    declared = None if window is None else {"column": "day", "type": "date", **window}
    assert problems(*columns, window=declared) == [message]


MARCH = Window("2026-03-01", datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC), "UTC")
GROUPED: dict[str, Any] = {
    "source": {"table": "t"},
    "window": {"column": "day", "type": "date"},
    "compare": "previous_period",
    "group_by": ["status", "name"],
    "columns": [
        {"name": "status", "type": "enum", "labels": {"B": "Beta"}, "null_text": "none", "header": "Account"},
        {"name": "name"},
        {"name": "debit_cents", "type": "money", "total": True},
        {"name": "credit", "type": "money(12,4)", "total": True},
    ],
}
CELLS: dict[str, list[Any]] = {
    "status": ["C", "B", "C"],
    "name": ["sea", "bee", "other"],
    "debit_cents": [1050, None, -50],
    "credit": [Decimal("0.0001"), Decimal("7.5"), None],
}
PREVIOUS: list[PreviousGroup] = [
    {
        "value": "B",
        "names": {"status": "B", "name": "bee"},
        "totals": {"debit_cents": "300", "credit": "7.5000"},
    },
    {"value": None, "names": {"status": None, "name": None}, "totals": {"debit_cents": "-10", "credit": "0"}},
    {
        "value": "A",
        "names": {"status": "A", "name": "old"},
        "totals": {"debit_cents": "0", "credit": "100000.0001"},
    },
]
ROWS = [
    ["A old", "Debit", 0, 0, 0, None],
    ["A old", "Credit", 0, 100000.0001, -100000.0001, -100],
    ["Beta bee", "Debit", 0, 3, -3, -100],
    ["Beta bee", "Credit", 7.5, 7.5, 0, 0],
    ["C sea", "Debit", 10, 0, 10, None],
    ["C sea", "Credit", 0.0001, 0, 0.0001, None],
    ["none", "Debit", 0, -0.1, 0.1, 100],
    ["none", "Credit", 0, 0, 0, None],
]


def grouped(
    cells: dict[str, list[Any]],
    previous: list[PreviousGroup] | None = PREVIOUS,
    spec: dict[str, Any] = GROUPED,
) -> Any:
    data = staged(CheckedTableSpec.model_validate(spec), cells, {}, window=MARCH)
    data.previous_totals, data.previous_groups = {"debit_cents": "290", "credit": "100007.5001"}, previous
    return layout(data)


def test_each_group_is_compared_with_itself_in_the_period_before(tmp_path: Path) -> None:
    made = grouped(CELLS)
    for format in ("excel", "pdf"):
        path, options = tmp_path / f"b{FORMATS[format].extension}", FORMATS[format].options()
        with path.open("wb") as out:
            FORMATS[format].render(made, out, options)
        facts, proof = FORMATS[format].read_back(path, options), FORMATS[format].proof(made, options)
        assert (facts.rows, facts.problems) == (3, ())
        names = {f"comparison by group: {column}" for column in ("this period", "previous period", "change")}
        assert names < proof.totals.keys()
        assert all(abs(facts.totals[name] - total) <= bound for name, (total, bound) in proof.totals.items())
        assert proof.totals["comparison by group: change"][0] == pytest.approx(17.5001 - 100010.4001)
    assert validation_errors(tmp_path / "b.xlsx") == []
    book = openpyxl.load_workbook(recalculated(tmp_path / "b.xlsx", tmp_path), data_only=True)
    assert book.sheetnames == ["Sample", "Comparison", "Comparison by Account"]
    sheet = book["Comparison by Account"]
    assert sheet["A1"].value == "Sample: compared with the previous period, by Account"
    assert [cell.value for cell in sheet[5]] == [
        "Account", "Amount", "This period", "Previous period", "Change", "Change %",
    ]  # fmt: skip
    assert [[cell.value for cell in row] for row in sheet.iter_rows(min_row=6)] == ROWS


def test_groups_of_the_previous_period_stay_where_a_window_has_no_rows() -> None:
    excel = FORMATS["excel"]
    made = excel.arrange(grouped({name: [] for name in CELLS}), excel.options())
    table = made.sheets[2].table.arrow().to_pydict()
    assert table["group"][::2] == ["A old", "Beta bee", "none"]
    assert {*table["comparison by group: this period"]} == {0}


def test_groups_of_the_previous_period_stay_where_no_row_of_a_window_has_one() -> None:
    """Columns without a value are not printed otherwise."""
    excel = FORMATS["excel"]
    columns = [column["name"] for column in GROUPED["columns"]]
    cells = {**CELLS, "status": [None] * 3, "name": [None] * 3}
    arranged = excel.arrange(grouped(cells, spec={**GROUPED, "print": columns}), excel.options())
    assert arranged.sheets[2].table.arrow().to_pydict()["group"][::2] == ["A", "Beta", "none"]
    assert arranged.left_out == ("Name",)


def test_groups_are_compared_only_where_those_of_the_previous_period_are_known() -> None:
    excel = FORMATS["excel"]
    for made in (
        grouped(CELLS, None),
        grouped({name: [*cells] * 300 for name, cells in CELLS.items()}, None),
    ):
        assert len(excel.arrange(made, excel.options()).sheets) == 2


@pytest.mark.parametrize("name", ["status", "name"])
def test_names_of_groups_are_listed_as_personal_data_where_one_of_them_is(name: str) -> None:
    columns = [{**one, "personal": one["name"] == name} for one in GROUPED["columns"]]
    made = grouped(CELLS, spec={**GROUPED, "columns": columns})
    for format in ("excel", "pdf"):
        options = FORMATS[format].options()
        listed = FORMATS[format].personal(made, options)
        assert listed["Comparison by Account"] == ("Account",)
        assert "Comparison" not in listed
