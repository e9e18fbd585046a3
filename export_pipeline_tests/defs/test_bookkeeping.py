"""Records and sellers against an oracle in plain Python over the very rows of the tables."""

import re
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import openpyxl
import pytest

from export_pipeline import tabular
from export_pipeline.core.windows import Window
from export_pipeline.datasets.options import OptionError
from export_pipeline.demo import bookkeeping as app
from export_pipeline.formats.registry import FORMATS
from export_pipeline.sources.snapshot import SourceError
from export_pipeline_tests.defs.exporting import Sample, differences, plain

DEFAULT = [
    "id",
    "ebay_order_id",
    "sale_date",
    "item_name",
    "qty",
    "sale_price_cents",
    "ebay_fees_cents",
    "earnings_net_cents",
    "amazon_price_cents",
    "amazon_tax_cents",
    "amazon_shipping_cents",
    "cogs_total_cents",
    "amazon_order_id",
    "status",
    "return_label_cost_cents",
    "profit_cents",
]
EXTRA = ["order_remark", "service_remark", "account_id"]


def records(sample: Sample, account: str, orders: bool = True, services: bool = True) -> list[dict[str, Any]]:
    """An account's records with everything that is computed, in order."""
    remarks = {r["record_id"]: r["content"] for r in sample.rows(app.ORDER_REMARKS)} if orders else {}
    served = {r["record_id"]: r["content"] for r in sample.rows(app.SERVICE_REMARKS)} if services else {}
    rows = [r for r in sample.rows(app.RECORDS) if r["account_id"] == account and r["deleted_at"] is None]
    rows.sort(key=lambda r: (r["updated_at"], r["id"]), reverse=True)
    for r in rows:
        fees, label = r["ebay_fees_cents"] or 0, r["return_label_cost_cents"] or 0
        cogs = sum(r[f"amazon_{part}_cents"] or 0 for part in ("price", "tax", "shipping"))
        profit = r["sale_price_cents"] - fees - cogs
        if r["status"] == "RETURN_CLOSED":
            profit = -label
        elif r["status"] != "SUCCESSFUL":
            profit -= label
        r |= {
            "earnings_net_cents": r["sale_price_cents"] - fees, "cogs_total_cents": cogs, "profit_cents": profit,
            "order_remark": remarks.get(r["id"]), "service_remark": served.get(r["id"]),
        }  # fmt: skip
    return rows


@pytest.mark.slow
@pytest.mark.parametrize("account", [app.SHOP, app.ODD, app.EMPTY])
def test_records_are_the_account_s_with_cents_in_csv_and_json(sample: Sample, account: str) -> None:
    expected = records(sample, account)
    export = sample.export("records", account)
    assert export.csv[0] == DEFAULT
    assert differences(export.csv[1:], [[row[name] for name in DEFAULT] for row in expected]) == []
    assert list(export.json) == ["records"]
    assert plain(export.json["records"]) == plain([{n: row[n] for n in DEFAULT} for row in expected])
    assert bool(expected) == (account != app.EMPTY)


def test_the_formulas_by_status_on_records_whose_answer_is_known(sample: Sample) -> None:
    export = sample.export("records", app.ODD, columns=["ebay_order_id", "profit_cents", "cogs_total_cents"])
    known = {row[0]: [int(cell) for cell in row[1:]] for row in export.csv[1:] if row[0].startswith("99-")}
    assert known == {
        "99-00000-00000": [-899, 3_100],  # closed: only the label is lost
        "99-00001-00000": [0, 3_100],
        "99-00002-00000": [0, 0],  # successful: nobody paid a label
        "99-00003-00000": [-4_600, 4_000],
        "99-00004-00000": [9_007_199_254_740_992, 0],  # beyond what a double holds
    }


def test_excel_has_whole_units_with_currency_real_dates_and_headers_without_cents(sample: Sample) -> None:
    expected = records(sample, app.SHOP)
    export = sample.export("records", app.SHOP, excel_layout="plain")
    sheet = openpyxl.load_workbook(export.file("excel"))["Records"]
    rows = list(sheet.iter_rows())
    start = 0
    assert [cell.value for cell in rows[start]] == [
        "Id", "Ebay Order Id", "Sale Date", "Item Name", "Qty", "Sale Price", "Ebay Fees", "Earnings Net",
        "Amazon Price", "Amazon Tax", "Amazon Shipping", "Cogs Total", "Amazon Order Id", "Status",
        "Return Label Cost", "Profit",
    ]  # fmt: skip
    for cells, row in zip(rows[start + 1 :], expected, strict=False):
        assert (cells[0].value, cells[2].value.date()) == (row["id"], row["sale_date"])
        fees, profit = row["ebay_fees_cents"], cells[15]
        assert cells[6].value == (None if fees is None else pytest.approx(fees / 100, abs=1e-9))
        if row["profit_cents"] > 10**15:  # no double holds it, so it is text
            assert profit.value == "90071992547409.92"
        else:
            assert "$" in profit.number_format
            assert profit.value == pytest.approx(row["profit_cents"] / 100, abs=1e-9)


def test_a_report_has_what_people_read_and_says_whose_it_is(sample: Sample) -> None:
    export = sample.export("records", app.SHOP)
    sheet = openpyxl.load_workbook(export.file("excel"))["Records"]
    rows = [list(row) for row in sheet.iter_rows(values_only=True)]
    lines = [row[0] for row in rows[:5]]
    assert lines[:3] == [
        "Records",
        f"For: {sample.scopes('records')[app.SHOP]}",
        f"Rows: {len(records(sample, app.SHOP))}",
    ]
    assert lines[3].startswith("Data as of: ")
    assert lines[4] == "Left out: Id, Amazon Price, Amazon Tax, Amazon Shipping, Amazon Order Id"
    assert rows[6] == [
        "Sale Date", "eBay Order", "Item Name", "Qty", "Sale Price", "eBay Fees", "Earnings Net", "Cost of Goods",
        "Return Label", "Profit", "Status",
    ]  # fmt: skip
    assert {row[10] for row in rows[7:]} <= {
        "Successful",
        "Label provided",
        "Return closed",
        "Refund, no return",
        None,
    }


@pytest.mark.parametrize("account", [app.SHOP, app.ODD, app.EMPTY])
def test_every_other_format_holds_what_the_database_added(sample: Sample, account: str) -> None:
    export = sample.export("records", account, preset="all")
    assert all(export.file(format).stat().st_size for format in ("pdf", "parquet", "excel"))
    # One object a line: without rows there is nothing to write.
    assert bool(export.file("jsonl").stat().st_size) is (export.layout.main.rows > 0)


@pytest.mark.slow
@pytest.mark.parametrize(("reader", "orders", "services"), [
    ("owner", True, True), ("buyer", True, False), ("stranger", False, False), (None, False, False),
])  # fmt: skip
def test_remarks_are_only_for_those_who_may_read_them(
    sample: Sample, reader: str | None, orders: bool, services: bool
) -> None:
    expected = records(sample, app.SHOP, orders, services)
    export = sample.export("records", app.SHOP, preset="all", requested_by=reader)
    assert export.csv[0] == DEFAULT + EXTRA
    assert differences(export.csv[1:], [[row[n] for n in DEFAULT + EXTRA] for row in expected]) == []
    assert bool(export.data.warnings) == (not (orders and services))


def test_a_reader_of_one_account_s_remarks_reads_no_other_s(sample: Sample) -> None:
    export = sample.export("records", app.ODD, columns=["id", "order_remark"], requested_by="buyer")
    assert {row[1] for row in export.csv[1:]} == {""}


@pytest.mark.slow
def test_a_preset_chooses_columns_and_filters(sample: Sample) -> None:
    essential = [
        "id",
        "ebay_order_id",
        "sale_date",
        "item_name",
        "qty",
        "sale_price_cents",
        "status",
        "profit_cents",
    ]
    assert sample.export("records", app.SHOP, preset="essential").csv[0] == essential
    assert "amazon_tax_cents" in sample.export("records", app.SHOP, preset="financial").csv[0]


def test_filters_by_status_and_by_days_that_are_both_whole(sample: Sample) -> None:
    first, last = date(2026, 2, 1), date(2026, 3, 31)
    statuses = ["RETURN_CLOSED", "SUCCESSFUL"]
    filters = {
        "status": {"in": statuses},
        "sale_date": {"range": {"from": first, "to": last}},
    }
    expected = [
        r["id"] for r in records(sample, app.SHOP)
        if r["status"] in statuses and first <= r["sale_date"] <= last
    ]  # fmt: skip
    export = sample.export("records", app.SHOP, filters=filters)
    assert [row[0] for row in export.csv[1:]] == expected
    assert expected


def test_a_window_is_of_the_days_of_the_sale(sample: Sample) -> None:
    window = Window("2026-03", datetime(2026, 3, 1, 5, tzinfo=UTC), datetime(2026, 4, 1, 4, tzinfo=UTC))
    days = {row[0] for row in sample.export("records", app.SHOP, window, columns=["sale_date"]).csv[1:]}
    expected = {r["sale_date"].isoformat() for r in records(sample, app.SHOP)}
    assert days == {day for day in expected if day.startswith("2026-03")} != set()


def test_the_file_is_named_after_account_and_day(sample: Sample) -> None:
    export = sample.export("records", app.SHOP)
    assert re.fullmatch(rf"records_{app.SHOP[:8]}_\d{{8}}", export.layout.file_name)


def test_impossible_requests_are_refused(sample: Sample) -> None:
    with pytest.raises(SourceError):
        sample.export("records", None)
    with pytest.raises(SourceError, match="00000000"):
        sample.export("records", "00000000-0000-0000-0000-000000000000")
    with pytest.raises(OptionError, match="profit_cents"):
        sample.export("records", app.SHOP, columns=["profit"])
    with pytest.raises(OptionError, match="SUCCESSFUL"):
        sample.export("records", app.SHOP, filters={"status": {"equals": "SUCCESS"}})
    assert set(sample.scopes("records")) == {app.SHOP, app.ODD, app.EMPTY}


SELLERS = [
    "display_name",
    "normalized_name",
    "platform",
    "platform_id",
    "times_seen",
    "feedback_percent",
    "feedback_count",
    "flagged",
    "created_at",
]


def test_sellers_are_exported_without_a_scope(sample: Sample) -> None:
    rows = [r for r in sample.rows(app.SELLERS) if r["deleted_at"] is None]
    rows.sort(key=lambda r: (r["display_name"], r["id"]))
    export = sample.export("sellers")
    assert export.csv[0] == SELLERS
    assert differences(export.csv[1:], [[row[name] for name in SELLERS] for row in rows]) == []
    assert plain(export.json) == plain({"sellers": [{n: row[n] for n in SELLERS} for row in rows]})
    for format in ("jsonl", "excel", "pdf", "parquet"):
        export.file(format)


def test_sellers_sorted_filtered_and_as_they_were_known(sample: Sample) -> None:
    rows = [r for r in sample.rows(app.SELLERS) if r["deleted_at"] is None]
    window = Window("2026-01", datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 20, tzinfo=UTC))
    filters = {"flagged": {"equals": False}, "display_name": {"contains": "BI"}}
    export = sample.export("sellers", window=window, filters=filters, sort=["-feedback_percent"])
    chosen = [
        r for r in rows
        if not r["flagged"] and "bi" in r["display_name"].lower() and r["created_at"] < window.end
    ]  # fmt: skip
    chosen.sort(key=lambda r: (r["feedback_percent"] is None, -(r["feedback_percent"] or 0), r["id"]))
    assert [row[0] for row in export.csv[1:]] == [r["display_name"] for r in chosen]
    assert chosen


def test_a_title_of_the_request_is_on_the_report_and_in_its_name(sample: Sample) -> None:
    export = sample.export("records", app.SHOP, title=" What we sold, <b>=1+1</b> ")
    book = openpyxl.load_workbook(export.file("excel"))
    assert book.worksheets[0]["A1"].value == "What we sold, <b>=1+1</b>"
    assert book.worksheets[0]["A1"].data_type == "s"
    assert export.layout.title == "What we sold, <b>=1+1</b>"
    assert "\n" not in export.layout.file_name
    assert export.csv == sample.export("records", app.SHOP).csv
    for wrong in ("two\nlines", "   ", "x" * 201):
        with pytest.raises(OptionError, match="title"):
            sample.export("records", app.SHOP, title=wrong)


NEW_YORK = ZoneInfo("America/New_York")
COMPARED = [
    "sale_price_cents", "ebay_fees_cents", "earnings_net_cents", "cogs_total_cents", "return_label_cost_cents",
    "profit_cents",
]  # fmt: skip


def month(year: int, number: int) -> Window:
    start, end = (
        datetime(year + m // 12, m % 12 + 1, 1, tzinfo=NEW_YORK).astimezone(UTC) for m in (number - 1, number)
    )
    return Window(f"{year}-{number:02}-01", start, end, "America/New_York")


def sums_of(rows: list[dict[str, Any]], first: date, last: date) -> list[int]:
    inside = [row for row in rows if first <= row["sale_date"] <= last]
    return [sum(row[name] or 0 for row in inside) for name in COMPARED]


@pytest.mark.parametrize("filters", [{}, {"status": {"equals": "SUCCESSFUL"}}])
def test_a_month_is_compared_with_the_one_before_for_the_same_scope_and_filters(
    sample: Sample, filters: dict[str, Any]
) -> None:
    export = sample.export("records", app.SHOP, month(2026, 3), filters=filters)
    rows = [row for row in records(sample, app.SHOP) if not filters or row["status"] == "SUCCESSFUL"]
    this = sums_of(rows, date(2026, 3, 1), date(2026, 3, 31))
    before = sums_of(rows, date(2026, 2, 1), date(2026, 2, 28))
    assert any(this)
    assert any(before)
    export.file("pdf")  # its sums are read back, too
    sheet = openpyxl.load_workbook(export.file("excel"))["Comparison"]
    assert [sheet.cell(row, 1).value for row in (2, 3)] == [
        "This period: 2026-03-01 to 2026-03-31",
        "Previous period: 2026-02-01 to 2026-02-28",
    ]
    cells = [[cell.value for cell in row] for row in sheet.iter_rows(min_row=6)]
    assert [row[0] for row in cells] == [
        "Sale Price", "eBay Fees", "Earnings Net", "Cost of Goods", "Return Label", "Profit",
    ]  # fmt: skip
    for row, one, past in zip(cells, this, before, strict=True):
        assert [Decimal(str(cell)) for cell in row[1:4]] == [
            Decimal(cents) / 100 for cents in (one, past, one - past)
        ]
        assert row[4] == (pytest.approx((one - past) / abs(past) * 100) if past else None)


def test_without_a_period_before_every_change_in_percent_is_empty(sample: Sample) -> None:
    rows = records(sample, app.SHOP)
    first = min(row["sale_date"] for row in rows)
    export = sample.export("records", app.SHOP, month(first.year, first.month))
    sheet = openpyxl.load_workbook(export.file("excel"))["Comparison"]
    cells = [[cell.value for cell in row] for row in sheet.iter_rows(min_row=6)]
    assert [(row[2], row[4]) for row in cells] == [(0, None)] * len(COMPARED)
    assert [row[1] for row in cells] == [row[3] for row in cells]


def test_a_wrong_previous_sum_is_noticed_in_both_files(sample: Sample) -> None:
    export = sample.export("records", app.SHOP, month(2026, 3))
    previous = dict(export.data.previous_totals)
    previous["profit_cents"] = str(int(previous["profit_cents"]) + 1)
    wrong = FORMATS["pdf"], FORMATS["excel"]
    altered = tabular.layout(replace(export.data, previous_totals=previous))
    for format in wrong:
        path = export.folder / f"wrong{format.extension}"
        with path.open("wb") as out:
            format.render(altered, out, export.options.of(format.name))
        facts = format.read_back(path, export.options.of(format.name))
        proof = format.proof(export.layout, export.options.of(format.name))
        differing = [
            name
            for name, (total, most) in proof.totals.items()
            if abs(facts.totals.get(name, 0.0) - total) > most
        ]
        assert differing == ["comparison: previous period", "comparison: change"], format.name


def test_people_read_records_by_date_and_programs_as_they_changed(sample: Sample) -> None:
    def dates(**options: Any) -> list[Any]:
        export = sample.export("records", app.SHOP, **options)
        sheet = openpyxl.load_workbook(export.file("excel")).worksheets[0]
        header = next(row[0].row for row in sheet.iter_rows() if row[0].value == "Sale Date")
        cells = [sheet.cell(row, 1).value for row in range(header + 1, sheet.max_row + 1)]
        return [cell.date() for cell in cells if isinstance(cell, datetime)]

    by_change = [row["sale_date"] for row in records(sample, app.SHOP)]
    assert dates() == sorted(by_change) != by_change
    csv = sample.export("records", app.SHOP).csv
    assert [row[2] for row in csv[1:]] == [day.isoformat() for day in by_change]
    assert dates(sort=["-sale_date"]) == sorted(by_change, reverse=True)
