"""A dataset whose workbook is the company's own: the table's headers choose the columns."""

from __future__ import annotations

import io
import re
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pytest
from pydantic import ValidationError

from export_pipeline import tabular
from export_pipeline.core.export_data import ExportData
from export_pipeline.core.layout import LayoutError
from export_pipeline.core.tables import Table
from export_pipeline.datasets.dataset import Dataset
from export_pipeline.datasets.table import TableModel, table_dataset
from export_pipeline.formats.comparison import compare_totals, rows_agree
from export_pipeline.formats.registry import FORMATS
from export_pipeline.tabular import layout
from export_pipeline.tabular.column_selection import spec_of
from export_pipeline.tabular.columns import column_of
from export_pipeline_tests.formats.excel.templates import company

COLUMNS: list[dict[str, Any]] = [
    {"name": "id", "type": "integer"},
    {"name": "paid", "type": "boolean"},
    {"name": "region"},
    {"name": "customer_name", "print": {"header": "Customer"}},
    {"name": "cents", "type": "money", "header": " amount ", "total": True},
    {"name": "sold_on", "type": "date", "header": "Day"},
    {"name": "remark", "extra": True},
]


def declared(folder: Path, columns: list[dict[str, Any]] = COLUMNS, **more: Any) -> Dataset:
    company(folder / "company.xlsx")
    attributes = {
        "dataset": "orders",
        "description": "Orders.",
        "formats": ["excel", "csv", "pdf"],
        "source": {"table": "orders"},
        "columns": columns,
        "print": ["id", "region"],
        "group_by": ["region"],
        "charts": [{"type": "bar", "group": "region"}],
        "excel_template": "company.xlsx",
        **more,
    }
    return table_dataset(TableModel.model_validate(attributes), folder)


def exported(dataset: Dataset, **options: Any) -> ExportData:
    spec = spec_of(dataset.spec)
    columns = [column_of(column) for column in spec.columns]
    rows = {
        "id": [1, 2],
        "paid": [True, None],
        "region": ["North", "South"],
        "customer_name": ["Ann", "Bob"],
        "cents": [1250, 399],
        "sold_on": [date(2026, 1, 1), date(2026, 1, 2)],
        "remark": ["a", "b"],
    }
    arrays = {column.name: pa.array(rows[column.name], column.arrow_type) for column in columns}
    return ExportData(
        dataset="orders",
        shape=tabular,
        scope=None,
        title="Orders",
        subject={},
        options=options,
        tables={"rows": Table.of("rows", columns, pa.table(arrays))},
        snapshot_at=datetime(2026, 11, 1, tzinfo=UTC),
        window=None,
        source_rows=2,
        source_totals={"cents": 1649.0, "id": 3.0},
        spec=dataset.spec,
    )


def test_the_workbook_has_the_table_s_columns_and_is_proven(tmp_path: Path) -> None:
    made = layout(exported(declared(tmp_path)))
    excel = FORMATS["excel"]
    options = excel.options_of({})
    out = io.BytesIO()
    rendered = excel.render(made, out, options)
    path = tmp_path / "made.xlsx"
    path.write_bytes(out.getvalue())
    facts, proof = excel.read_back(path, options), excel.proof(made, options)
    assert rows_agree(proof, rendered, facts)
    compared, wrong = compare_totals(proof, facts)
    assert wrong == set()
    assert compared["cents"][0] == pytest.approx(16.49)
    assert excel.left_out(made, options) == ("Id",)
    sheet = openpyxl.load_workbook(path)["Data"]
    assert [cell.value for cell in sheet[6]][:3] == ["South", "Bob", 3.99]


def test_other_formats_and_plain_workbooks_do_without_it(tmp_path: Path) -> None:
    made = layout(exported(declared(tmp_path)))
    for name, request in (("excel", {"excel_layout": "plain"}), ("csv", {}), ("pdf", {})):
        arranged = FORMATS[name].arrange(made, FORMATS[name].options_of(request))
        assert arranged.template is None
        assert "id" in arranged.main.schema


def test_a_request_without_the_table_s_columns_says_what_to_choose(tmp_path: Path) -> None:
    made = layout(exported(declared(tmp_path), columns=["id", "region"]))
    excel = FORMATS["excel"]
    with pytest.raises(LayoutError, match=r"company.xlsx needs a column that was not chosen: .*'Customer'"):
        excel.proof(made, excel.options_of({}))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            COLUMNS[1:3],
            r"company.xlsx its table 'Orders' does not fit: no column is called 'Customer'; there are",
        ),
        (
            [*COLUMNS[:3], {"name": "customer_name", "header": "Customer", "extra": True}, *COLUMNS[4:]],
            "no column is called 'Customer'",
        ),
    ],
)
def test_a_table_that_does_not_fit_is_refused_at_its_place(
    tmp_path: Path, columns: list[dict[str, Any]], message: str
) -> None:
    with pytest.raises(ValidationError) as error:
        declared(tmp_path, columns, print=None, group_by=[], charts=[])
    (problem,) = error.value.errors()
    assert problem["loc"] == ("excel_template",)
    assert re.search(message, problem["msg"])


def test_a_missing_workbook_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ValidationError, match=r"other.xlsx cannot be read: No such file or directory; it lies"
    ):
        declared(tmp_path, excel_template="other.xlsx")
