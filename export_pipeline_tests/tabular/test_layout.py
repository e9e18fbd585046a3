from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Context, Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import openpyxl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings

from export_pipeline.core.columns import Kind
from export_pipeline.core.layout import Layout
from export_pipeline.core.tables import Table
from export_pipeline.core.windows import Window
from export_pipeline.formats.registry import FORMATS
from export_pipeline.tabular import build, layout
from export_pipeline.tabular.column_selection import select_columns
from export_pipeline.tabular.columns import apply_labels, make_header, to_whole_units
from export_pipeline.tabular.spec import ColumnSpec
from export_pipeline.tabular.validation import CheckedTableSpec
from export_pipeline_tests.tabular.random_exports import Sample, finite, samples, shown, staged

SLOW = settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
TABLES = ("csv", "json", "jsonl", "parquet", "excel", "pdf")


def same(left: list[Any], right: list[Any]) -> bool:
    """Equal, where NaN equals NaN."""
    return [str(v) if v != v else v for v in left] == [str(v) if v != v else v for v in right]


def arranged(made: Layout, format: str) -> Layout:
    """A layout as a format shows it, with the options of its request."""
    return FORMATS[format].arrange(made, FORMATS[format].options_of(made.provenance["options"]))


@pytest.mark.slow
@SLOW
@given(samples())
def test_every_format_has_the_chosen_columns_and_their_values(sample: Sample) -> None:
    data = build(sample.data)
    made = layout(data)
    computed = data.tables["rows"].arrow().to_pydict()
    option = sample.data.options.get
    for format in TABLES:
        table = arranged(made, format).main
        named = data.options.get("columns") or ()
        columns = [
            c
            for c in select_columns(sample.spec, data.options)
            if c.formats is None or format in c.formats or c.name in named
        ]
        columns = columns or select_columns(sample.spec, data.options)
        assert [column.name for column in table.columns] == [column.name for column in columns]
        got = table.arrow()
        assert got.num_rows == table.rows == sample.data.source_rows
        for spec, column in zip(columns, table.columns, strict=True):
            cells = got[column.name].to_pylist()
            expected = sample.cells.get(spec.name, computed[spec.name])
            minor = (
                option({"csv": "csv_money", "json": "json_money", "jsonl": "json_money"}.get(format, ""))
                == "minor"
            )
            if spec.parsed.minor and not minor:
                expected = [shown(spec, cell) for cell in expected]
                assert column.kind is Kind.MONEY
                assert column.digits == (2 if spec.digits is None else spec.digits)
            elif spec.parsed.minor:
                assert column.kind is Kind.INTEGER
            if spec.type == "enum" and format in ("csv", "excel", "pdf"):
                expected = [spec.labels.get(cell, cell) for cell in expected]
            assert same(cells, expected), (format, spec.name)
            assert got[column.name].type == column.arrow_type or pa.types.is_integer(got[column.name].type)
            assert column.null == spec.null_text
            named = format == "csv" and option("csv_headers") == "name"
            assert column.header == (spec.name if named else make_header(spec, units=not minor))


@pytest.mark.slow
@SLOW
@given(samples())
def test_proofs_and_totals_are_the_sums_of_what_formats_get(sample: Sample) -> None:
    made = layout(build(sample.data))
    for format in TABLES:
        table, proof = arranged(made, format).main, arranged(made, format).proof
        assert proof.rows == table.rows
        got = table.arrow()
        numbers = {(c.header if format == "csv" else c.name): c for c in table.columns if c.kind.is_number}
        assert set(proof.totals) <= set(numbers)
        if format not in ("csv",):
            assert set(proof.totals) == set(numbers)
        for name, (total, tolerance) in proof.totals.items():
            cells = finite(got[numbers[name].name].to_pylist())
            assert abs(math.fsum(map(float, cells)) - total) <= tolerance, (format, name)
    for section in (*made.sheets, *made.chapters):
        assert section.counts
        got = section.table.arrow()
        for total in section.totals:
            for name, value in total.values.items():
                cells = finite(got[name].to_pylist())
                if isinstance(value, int):
                    assert value == sum(cells), name
                elif isinstance(value, Decimal):
                    exact = Context(prec=100)
                    expected = Decimal(0)
                    for cell in cells:
                        expected = exact.add(expected, cell)
                    assert value == expected, name
                else:
                    assert math.isclose(value, math.fsum(cells), rel_tol=1e-12, abs_tol=1e-300), name


RECORDS = CheckedTableSpec.model_validate(
    {
        "source": {"table": "records"},
        "title": "Records",
        "json_key": "records",
        "file_name": "records_{scope:.8}_{preset}_{created:%Y%m%d}",
        "file_zone": "Europe/Berlin",
        "scope": {"column": "account_id", "table": "accounts"},
        "window": {"column": "sold", "type": "date", "zone": "Europe/Berlin"},
        "columns": [
            {"name": "id", "type": "integer"},
            {"name": "sale_price_cents", "type": "money", "total": True, "null_text": "N/A"},
            {"name": "fees_cents", "type": "money"},
            {"name": "net_cents", "type": "money", "compute": "sale_price_cents - coalesce(fees_cents, 0)", "total": True},
            {"name": "status", "type": "enum", "labels": {"OK": "Fine", "BAD": "Not fine"}},
            {"name": "rate", "type": "decimal(12,4)", "digits": 2},
            {"name": "formula", "header": "=Rate", "type": "integer", "compute": "id * 2"},
            {"name": "sold", "type": "date"},
            {"name": "note", "extra": True},
            {"name": "paid", "type": "boolean", "labels": {"true": "paid", "false": "open"}},
        ],
        "presets": {
            "small": ["status", "id"],
            "all": "all",
            "fine": {"filters": {"status": {"equals": "OK"}}, "title": "Fine ones", "file_name": "fine"},
        },
        "filters": {"status": ["equals", "in"], "sale_price_cents": ["range"], "note": ["contains", "is_null"]},
    }
)  # fmt: skip
CELLS: dict[str, list[Any]] = {
    "id": [1, 2, 3],
    "sale_price_cents": [100, None, -3],
    "fees_cents": [None, 0, 3],
    "status": ["OK", None, "ODD"],
    "rate": [Decimal("1.2345"), None, Decimal("7.0000")],
    "sold": [None, None, None],
    "note": ["=1+1", "", None],
    "paid": [True, False, None],
}


@pytest.mark.parametrize("options", [{}, {"csv_headers": "name", "csv_money": "minor", "json_money": "minor", "json_shape": "object"}])  # fmt: skip
@pytest.mark.parametrize("format", [name for name in TABLES if name in FORMATS])
def test_files_hold_what_their_proof_says(format: str, options: dict[str, Any], tmp_path: Path) -> None:
    made = layout(build(staged(RECORDS, CELLS, {"preset": "all", **options}, scope="0123456789")))
    path = tmp_path / f"file{FORMATS[format].extension}"
    chosen_options = FORMATS[format].options_of(options)
    with path.open("wb") as out:
        FORMATS[format].render(made, out, chosen_options)
    facts = FORMATS[format].read_back(path, chosen_options)
    proof = FORMATS[format].proof(made, chosen_options)
    assert (facts.rows, facts.problems) == (proof.rows, ())
    assert len(proof.totals) == 6
    for name, (total, tolerance) in proof.totals.items():
        assert abs(facts.totals[name] - total) <= tolerance, name


def test_a_proof_that_is_wrong_by_a_cent_is_outside_its_tolerance() -> None:
    made = layout(build(staged(RECORDS, CELLS)))
    total, tolerance = arranged(made, "csv").proof.totals["Sale Price"]
    assert total == pytest.approx(0.97)
    assert tolerance < 0.001
    assert "'=Rate" in arranged(made, "csv").proof.totals  # as the reader of the file finds it


def test_a_cent_in_a_billion_is_outside_the_tolerance_where_the_database_adds_exactly() -> None:
    data = staged(RECORDS, CELLS)
    billion = {"sale_price_cents": 5e11, "|sale_price_cents|": 5e11}
    for lost, allowed in ({}, 0.005), ({"±sale_price_cents": 300.0}, 3.005):
        made = layout(build(replace(data, source_totals={**data.source_totals, **billion, **lost})))
        assert arranged(made, "csv").proof.totals["Sale Price"] == pytest.approx((5e9, allowed))


def test_a_layout_describes_scope_filters_and_window() -> None:
    filters = {"status": {"in": ["OK", "BAD"]}, "sale_price_cents": {"range": {"from": 100, "to": 123456}},
               "note": {"contains": "x", "is_null": False}}  # fmt: skip
    window = Window(
        "2026-03-29",
        datetime(2026, 3, 28, 23, tzinfo=UTC),
        datetime(2026, 3, 29, 22, tzinfo=UTC),
        "Europe/Berlin",
    )
    data = staged(RECORDS, CELLS, {"preset": "fine", "filters": filters}, scope="0123456789", window=window)
    made = layout(build(data))
    assert made.title == "Fine ones"
    assert made.file_name == "fine"
    assert made.created == data.snapshot_at
    assert made.period == "2026-03-29"
    assert made.footer == "Acme · Fine ones · 2026-03-29"
    assert arranged(made, "excel").sheets[0].lines[:2] == ("For: Acme", "Status: Fine")
    assert made.facts == (
        ("For", "Acme"),
        ("Status", "Fine"),
        ("Status", "Fine, Not fine"),
        ("Sale Price", "from 1.00 to 1,234.56"),
        ("Note", "contains “x”"),
        ("Note", "not missing"),
        ("Period", "2026-03-29"),
        ("Rows", "3"),
        ("Data as of", "2026-03-29 23:30 UTC"),
    )


def test_a_month_is_never_called_by_a_day_of_the_next() -> None:
    zone = ZoneInfo("Europe/Berlin")
    october = Window(
        "2026-10-01", datetime(2026, 10, 1, tzinfo=zone), datetime(2026, 11, 1, tzinfo=zone), zone.key
    )
    for template, name in (
        ("a_{created:%Y%m%d}", "a_20261001-20261031"),
        ("a_{created:%d.%m.%Y}", "a_01.10.2026-31.10.2026"),
        ("a_{created:%Y-%m-%d-%H-%M}", "a_20261001-20261031"),
        ("a_{created}", "a_20261001-20261031"),
        ("a_{window}", "a_20261001-20261031"),
    ):
        spec = RECORDS.model_copy(update={"file_name": template})
        assert layout(staged(spec, CELLS, {"columns": ["id"]}, window=october)).file_name == name


PRINT: dict[str, Any] = {
    "print": ["status", "id", "rate", "paid"],
    "columns": [
        {"name": "id", "type": "integer", "print": {"header": "No."}},
        {"name": "sale_price_cents", "type": "money"},
        {"name": "fees_cents", "type": "money", "header": "Fees"},
        {
            "name": "status",
            "type": "enum",
            "labels": {"OK": "fine", "ODD": "Odd"},
            "print": {"labels": {"OK": "Fine"}},
        },
        {"name": "rate", "type": "decimal(12,4)"},
        {"name": "paid", "type": "boolean"},
    ],
}


def test_paper_has_the_columns_that_people_read_and_says_which_it_leaves_out() -> None:
    spec = CheckedTableSpec.model_validate({"source": {"table": "records"}, **PRINT})
    made = layout(staged(spec, CELLS, {}))
    for format in ("pdf", "excel"):
        shown = arranged(made, format)
        assert [column.header for column in shown.main.columns] == ["Status", "No.", "Rate", "Paid"]
        assert shown.main.arrow()["status"].to_pylist() == ["Fine", None, "Odd"]
        assert shown.main.columns[2].digits == 4
        assert not shown.main.columns[1].grouping
        assert shown.left_out == ("Sale Price", "Fees")
        assert shown.facts[-1] == ("Left out", "Sale Price, Fees")
        assert set(shown.proof.totals) == {"id", "rate"}
    assert "Left out: Sale Price, Fees" in arranged(made, "excel").sheets[0].lines
    names = [column["name"] for column in PRINT["columns"]]
    plain = FORMATS["excel"].arrange(made, FORMATS["excel"].options(layout="plain"))
    for shown in (plain, *(arranged(made, format) for format in ("csv", "json", "jsonl", "parquet"))):
        assert [column.name for column in shown.main.columns] == names
        assert shown.left_out == ()
    assert plain.main.arrow()["status"].to_pylist() == ["fine", None, "Odd"]


def test_columns_without_a_value_are_not_printed_unless_they_are_asked_for() -> None:
    spec = CheckedTableSpec.model_validate(
        {
            "source": {"table": "records"},
            "print": ["id", "fees_cents", "rate", "note", "status"],
            "presets": {"some": ["id", "note"]},
            "columns": [
                {"name": "id", "type": "integer"},
                {"name": "fees_cents", "type": "money", "total": True},
                {"name": "rate", "type": "decimal(12,4)"},
                {"name": "note", "null_text": "N/A"},
                {"name": "status"},
            ],
        }
    )
    cells = {"id": [1, 2], "fees_cents": [None, None], "rate": [None, None], "note": ["", None], "status": [None, "x"]}  # fmt: skip
    for format in ("pdf", "excel"):
        shown = arranged(layout(staged(spec, cells, {}, batch_rows=1)), format)
        assert [column.name for column in shown.main.columns] == ["id", "fees_cents", "status"]
        assert (shown.facts[-1], shown.left_out) == (("Empty", "Rate, Note"), ("Rate", "Note"))
        asked = arranged(layout(staged(spec, cells, {"preset": "some"})), format)
        assert [column.name for column in asked.main.columns] == ["id", "note"]
    csv = arranged(layout(staged(spec, cells, {})), "csv")
    assert (len(csv.main.columns), csv.left_out) == (5, ())
    none = arranged(layout(staged(spec, {name: [] for name in cells}, {})), "excel")
    assert len(none.main.columns) == 5


@pytest.mark.parametrize("choice", [{"columns": ["fees_cents", "id"]}, {"preset": "some"}])
def test_a_request_that_chooses_columns_gets_them_on_paper_too(choice: dict[str, Any]) -> None:
    spec = CheckedTableSpec.model_validate(
        {"source": {"table": "records"}, "presets": {"some": ["fees_cents", "id"]}, **PRINT}
    )
    shown = arranged(layout(staged(spec, CELLS, choice)), "pdf")
    assert [column.header for column in shown.main.columns] == ["Fees", "No."]
    assert shown.left_out == ()


GROUPED = {
    "source": {"table": "records"},
    "group_by": ["status", "note"],
    "columns": [
        {"name": "id", "type": "integer"},
        {"name": "status", "type": "enum", "labels": {"B": "Beta"}, "null_text": "none"},
        {"name": "note"},
        {"name": "fees_cents", "type": "money", "total": True},
        {"name": "rate", "type": "decimal(12,4)", "total": True},
    ],
}
GROUPED_CELLS: dict[str, list[Any]] = {
    "id": [1, 2, 3, 4, 5],
    "status": ["B", "A", None, "B", "A"],
    "note": ["first", "x", None, "second", "y"],
    "fees_cents": [100, 250, None, -1, 7],
    "rate": [Decimal("0.1"), None, Decimal("99999999.9999"), Decimal("0.2"), Decimal("-0.0001")],
}


def test_rows_on_paper_are_grouped_with_subtotals_that_add_up(tmp_path: Path) -> None:
    spec = CheckedTableSpec.model_validate(GROUPED)
    made = layout(staged(spec, GROUPED_CELLS, {}, batch_rows=2))
    pdf, excel = arranged(made, "pdf").chapters[0], arranged(made, "excel").sheets[0]
    assert [column.name for column in pdf.table.columns] == ["id", "fees_cents", "rate"]
    assert pdf.table.arrow()["id"].to_pylist() == excel.table.arrow()["id"].to_pylist() == [2, 5, 1, 4, 3]
    assert [(group.title, group.rows, group.lines) for group in pdf.groups or ()] == [
        ("Status: A x", 2, ("2 rows",)),
        ("Status: Beta first", 2, ("2 rows",)),
        ("Status: none", 1, ("1 row",)),
    ]
    values = [
        {"fees_cents": Decimal("2.57"), "rate": Decimal("-0.0001")},
        {"fees_cents": Decimal("0.99"), "rate": Decimal("0.3")},
        {"fees_cents": Decimal("0"), "rate": Decimal("99999999.9999")},
    ]
    grand = {"fees_cents": Decimal("3.56"), "rate": Decimal("100000000.2998")}
    assert [dict(total.values) for group in pdf.groups or () for total in group.totals] == [*values, grand]
    assert [(total.label, total.where) for total in excel.totals] == [
        ("Total A x", ("status", "A")), ("Total Beta first", ("status", "Beta")), ("Total none", ("status", "none")),
        ("Total", None),
    ]  # fmt: skip
    assert [dict(total.values) for total in excel.totals] == [*values, grand]
    for format in ("pdf", "excel"):
        path = tmp_path / f"grouped{FORMATS[format].extension}"
        chosen = FORMATS[format].options()
        with path.open("wb") as out:
            FORMATS[format].render(made, out, chosen)
        facts, proof = FORMATS[format].read_back(path, chosen), FORMATS[format].proof(made, chosen)
        assert (facts.rows, facts.problems) == (5, ())
        assert all(abs(facts.totals[name] - total) <= bound for name, (total, bound) in proof.totals.items())
        assert set(proof.totals) == {"id", "fees_cents", "rate"}
    sheet = openpyxl.load_workbook(tmp_path / "grouped.xlsx").worksheets[0]
    formulas = [sheet.cell(row, 4).value for row in range(sheet.max_row - 3, sheet.max_row + 1)]
    assert formulas[0] == '=SUMIF(B6:B10,"A",D6:D10)'
    assert formulas[-1] == "=SUM(D6:D10)"
    for format in ("csv", "json", "parquet"):
        assert arranged(made, format).main.arrow()["id"].to_pylist() == [1, 2, 3, 4, 5]


def test_a_subtotal_keeps_a_column_for_its_label() -> None:
    columns = [column for column in GROUPED["columns"] if column["name"] != "id"]
    spec = CheckedTableSpec.model_validate({**GROUPED, "columns": columns})
    pdf = arranged(layout(staged(spec, GROUPED_CELLS, {})), "pdf").chapters[0]
    assert [column.name for column in pdf.table.columns] == ["status", "note", "fees_cents", "rate"]


def test_rows_are_not_grouped_by_a_column_that_the_request_leaves_out_or_by_too_many_values() -> None:
    spec = CheckedTableSpec.model_validate(GROUPED)
    made = layout(staged(spec, GROUPED_CELLS, {"columns": ["rate", "id"]}))
    assert arranged(made, "pdf").chapters[0].groups is None
    many = {name: [*cells] * 201 for name, cells in GROUPED_CELLS.items()}
    many["status"] = [f"s{i}" for i in range(1005)]
    shown = arranged(layout(staged(spec, many, {})), "pdf").chapters[0]
    assert (shown.groups, len(shown.totals)) == (None, 1)


def test_names_of_files_follow_their_template() -> None:
    assert (
        layout(staged(RECORDS, CELLS, {"preset": "small"}, scope="0123456789")).file_name
        == "records_01234567_small_20260330"
    )
    plain = RECORDS.model_copy(
        update={"file_name": "{title}_{dataset}_{window}_{created}{{}}", "title": None}
    )
    made = layout(staged(plain, CELLS, {"columns": ["id"]}, scope="1"))
    assert made.file_name == "Acme_sample_20260329_233000_20260330_013000{}"
    assert layout(staged(plain, CELLS, {"columns": ["id"]}, title="")).title == "Sample"


def test_json_is_an_array_or_an_object_with_one() -> None:
    assert isinstance(arranged(layout(build(staged(RECORDS, CELLS))), "json").document, Table)
    document = arranged(layout(build(staged(RECORDS, CELLS, {"json_shape": "object"}))), "json").document
    assert isinstance(document, dict)
    assert list(document) == ["records"]


@pytest.mark.parametrize(
    ("column", "units", "minor"),
    [
        ({"name": "sale_price_cents", "type": "money"}, "Sale Price", "Sale Price Cents"),
        ({"name": "sale_price_cents", "type": "integer"}, "Sale Price Cents", "Sale Price Cents"),
        ({"name": "_cents", "type": "money"}, "Cents", "Cents"),
        ({"name": "ebay_order_id"}, "Ebay Order Id", "Ebay Order Id"),
        ({"name": "pm_eMail"}, "Pm EMail", "Pm EMail"),
        ({"name": "a__b_"}, "A B", "A B"),
        ({"name": "___"}, "___", "___"),
        ({"name": "x_cents", "type": "money", "header": ""}, "", ""),
    ],
)
def test_a_column_without_a_header_is_titled_by_its_name(
    column: dict[str, Any], units: str, minor: str
) -> None:
    spec = ColumnSpec.model_validate(column)
    assert (make_header(spec), make_header(spec, units=False)) == (units, minor)


def test_whole_units_are_exact() -> None:
    extremes = [-(2**63), 2**63 - 1, 0, -1, None]
    for digits in range(5):
        made = to_whole_units(pa.array(extremes, pa.int64()), digits)
        assert made.type == pa.decimal128(21, digits)
        assert made.to_pylist() == [None if n is None else Decimal(n).scaleb(-digits) for n in extremes]


def test_labels_leave_unknown_values_and_are_not_chained() -> None:
    cells = pa.array(["NEW", "OLD", "New", None, ""])
    assert apply_labels(cells, {"NEW": "OLD", "OLD": "New"}).to_pylist() == ["OLD", "New", "New", None, ""]
