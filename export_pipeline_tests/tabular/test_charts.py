"""Charts hold exact sums of few groups, whatever the rows are."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from export_pipeline import tabular
from export_pipeline.core.charts import Chart
from export_pipeline.core.export_data import ExportData
from export_pipeline.core.layout import Layout
from export_pipeline.core.tables import Table
from export_pipeline.formats.comparison import rows_agree
from export_pipeline.formats.registry import FORMATS
from export_pipeline.tabular import chart_sums, charts, layout
from export_pipeline.tabular.columns import column_of
from export_pipeline.tabular.spec import TableSpec
from export_pipeline.tabular.validation import CheckedTableSpec

COLUMNS: list[dict[str, Any]] = [
    {"name": "id", "type": "integer"},
    {"name": "status", "type": "enum", "labels": {"A": "Active", "B": "Closed"}},
    {"name": "city", "null_text": "no city"},
    {"name": "day", "type": "date"},
    {"name": "at", "type": "timestamp", "zone": "Europe/Berlin"},
    {"name": "paid", "type": "boolean", "labels": {"true": "paid", "false": "due"}},
    {"name": "price_cents", "type": "money"},
    {"name": "fee", "type": "decimal(38,10)"},
    {"name": "score", "type": "float"},
    {"name": "owner", "personal": True},
]


def spec_with(*declared: dict[str, Any], **more: Any) -> TableSpec:
    return CheckedTableSpec.model_validate(
        {"source": {"table": "t"}, "columns": COLUMNS, "charts": list(declared), **more}
    )


def laid_out(spec: TableSpec, rows: list[dict[str, Any]], **options: Any) -> Layout:
    columns = [column_of(column) for column in spec.columns]
    arrays = {c.name: pa.array([row.get(c.name) for row in rows], c.arrow_type) for c in columns}
    totals = {
        c.name: float(sum(v for row in rows if (v := row.get(c.name)) is not None and v == v))
        for c in columns
        if c.kind.is_number
    }
    data = ExportData(
        dataset="orders",
        shape=tabular,
        scope=None,
        title="Orders",
        subject={},
        options=options,
        tables={"rows": Table.of("rows", columns, pa.table(arrays), batch_rows=3)},
        snapshot_at=datetime(2026, 11, 1, tzinfo=UTC),
        window=None,
        source_rows=len(rows),
        source_totals=totals,
        spec=spec.model_dump(mode="json", by_alias=True, exclude_unset=True),
    )
    return layout(data)


def arranged(made: Layout, format: str = "pdf") -> Layout:
    return FORMATS[format].arrange(made, FORMATS[format].options_of(made.provenance["options"]))


def only_chart(declared: dict[str, Any], rows: list[dict[str, Any]]) -> Chart:
    (chart,) = arranged(laid_out(spec_with(declared), rows)).charts
    return chart


def test_sums_are_exact_and_in_whole_units_largest_first_and_labelled() -> None:
    rows = [
        {"status": "A", "price_cents": 10, "fee": Decimal("0.1000000001")},
        {"status": "B", "price_cents": 2**62, "fee": Decimal("12345678901234567890.0000000001")},
        {"status": "A", "price_cents": 20, "fee": None},
        {"status": "B", "price_cents": 2**62 + 1, "fee": Decimal("1")},
        {"status": None, "price_cents": -5},
    ]
    chart = only_chart({"type": "bar", "group": "status", "measure": ["price_cents", "fee"]}, rows)
    assert chart.title == "Price and Fee by Status"
    assert (chart.type, chart.group, chart.stacked) == ("bar", "Status", False)
    assert chart.categories == ("Closed", "Active", "None")
    price, fee = chart.series
    assert price.values == (Decimal(2**63 + 1).scaleb(-2), Decimal("0.30"), Decimal("-0.05"))
    assert (price.name, price.source, price.column.currency) == ("Price", "price_cents", "$")
    assert fee.values == (Decimal("12345678901234567891.0000000001"), Decimal("0.1000000001"), Decimal(0))


def test_many_groups_become_one_whose_name_says_how_many() -> None:
    rows = [{"city": f"c{n:02}", "price_cents": 100 * n} for n in range(30) for _ in range(2)]
    chart = only_chart({"type": "column", "group": "city", "measure": "price_cents", "limit": 3}, rows)
    assert chart.categories == ("c29", "c28", "Other (28)")
    assert chart.series[0].values == (58, 56, sum(range(28)) * 2)
    assert chart.series[0].total == sum(range(30)) * 2


def test_rows_are_counted_where_nothing_is_measured() -> None:
    rows = [{"paid": True}, {"paid": False}, {"paid": True}, {"paid": None}]
    chart = only_chart({"type": "pie", "group": "paid"}, rows)
    assert (chart.title, chart.categories) == ("Rows by Paid", ("paid", "due", "None"))
    assert chart.series[0].values == (2, 1, 1)


def test_months_are_in_order_without_gaps_and_of_the_columns_zone() -> None:
    rows = [
        {"at": datetime(2026, 3, 31, 22, 30, tzinfo=UTC), "price_cents": 100},  # April in Berlin
        {"at": datetime(2026, 1, 15, tzinfo=UTC), "price_cents": 200},
        {"at": None, "price_cents": 1},
    ]
    chart = only_chart({"type": "line", "group": "at", "measure": "price_cents"}, rows)
    assert chart.categories == ("Jan 2026", "Feb 2026", "Mar 2026", "Apr 2026", "None")
    assert chart.series[0].values == (2, 0, 0, 1, Decimal("0.01"))


@pytest.mark.parametrize(
    ("by", "names"),
    [
        ("day", ("Before 2026-03-01", "2026-03-01", "2026-03-02")),
        ("week", ("Before 2026-02-23", "2026-02-23", "2026-03-02")),
        ("quarter", ("2025 Q4", "2026 Q1")),
        ("year", ("2025", "2026")),
    ],
)
def test_the_newest_periods_stay_and_the_earlier_ones_are_added_up(by: str, names: tuple[str, ...]) -> None:
    rows = [{"day": date(2025, 12, 31)}, {"day": date(2026, 2, 28)}, {"day": date(2026, 3, 2)}]
    chart = only_chart({"type": "column", "group": "day", "by": by, "limit": 3}, rows)
    assert chart.categories == names
    assert sum(chart.series[0].values) == 3


def test_parts_are_series_and_add_up_to_the_whole() -> None:
    rows = [{"day": date(2026, 1 + n % 2, 1), "city": f"c{n % 9}", "price_cents": n} for n in range(40)]
    chart = only_chart({"type": "column", "group": "day", "split_by": "city", "measure": "price_cents"}, rows)
    assert chart.stacked
    assert chart.categories == ("Jan 2026", "Feb 2026")
    assert [series.name for series in chart.series][-1] == f"Other ({9 - charts.MAX_PARTS + 1})"
    assert sum(sum(series.values) for series in chart.series) == Decimal(sum(range(40))).scaleb(-2)
    assert all(sum(series.values) == series.total for series in chart.series)


def test_declared_parts_keep_their_order_so_that_legends_are_alike() -> None:
    rows = [{"city": "a", "status": status} for status in ("X", "B", "B", None, None, None, "A")]
    chart = only_chart({"type": "bar", "group": "city", "split_by": "status"}, rows)
    assert [series.name for series in chart.series] == ["Active", "Closed", "None", "X"]
    assert [series.values for series in chart.series] == [(1,), (2,), (3,), (1,)]


def test_the_parts_of_a_boolean_say_of_what() -> None:
    chart = only_chart({"type": "bar", "group": "city", "split_by": "paid"}, [{"city": "a", "paid": True}])
    assert [series.name for series in chart.series] == ["Paid: paid"]


def test_sums_that_no_number_holds_leave_the_chart_out() -> None:
    spec = spec_with({"type": "bar", "group": "city", "measure": "score"})
    made = arranged(laid_out(spec, [{"city": "a", "score": 1.7e308}] * 2))
    assert made.charts == ()
    assert made.notes == (
        "The chart 'Score by City' is left out: its sums are too large or too small to be drawn.",
    )


@pytest.mark.parametrize("score", [1.7976931348623157e308, 1.1e306, 1e-310, 5e-324, -1e308])
def test_extreme_floats_leave_the_chart_out(score: float) -> None:
    spec = spec_with({"type": "column", "group": "city", "measure": "score"})
    made = arranged(laid_out(spec, [{"city": "a", "score": score}, {"city": "b", "score": 1.0}]))
    assert made.charts == ()
    assert "is left out" in made.notes[0]


def test_what_is_left_of_numbers_that_nearly_cancel_can_be_too_small_to_draw() -> None:
    spec = spec_with({"type": "column", "group": "city", "measure": "score", "limit": 2})
    rows = [("a", 1.0), ("b", 2e-300), ("c", math.nextafter(-2e-300, 0))]
    made = arranged(laid_out(spec, [{"city": city, "score": score} for city, score in rows]))
    assert made.charts == ()
    assert "is left out" in made.notes[0]


@pytest.mark.parametrize("format", ["pdf", "excel"])
@pytest.mark.parametrize("score", [1e15, 1e60, 1e100, -1e306, 1e306, 1e-300])
@pytest.mark.parametrize("type", ["bar", "column", "line"])
def test_every_number_that_is_charted_can_be_drawn_and_is_proved(
    tmp_path: Path, format: str, score: float, type: str
) -> None:
    spec = spec_with({"type": type, "group": "city", "measure": "score"})
    made = laid_out(
        spec, [{"city": "a", "score": score}, {"city": "b", "score": 1.0 if score > 1 else score}]
    )
    assert len(arranged(made, format).charts) == 1
    writer = FORMATS[format]
    options = writer.options_of({})
    path = tmp_path / f"t.{format}"
    with path.open("wb") as out:
        rendered = writer.render(made, out, options)
    facts = writer.read_back(path, options)
    assert facts.problems == ()
    assert rows_agree(writer.proof(made, options), rendered, facts)


def test_a_pie_has_at_most_twelve_slices() -> None:
    rows = [{"city": f"c{n}", "day": date(2020 + n, 1, 1)} for n in range(30)] + [{"city": None}]
    for group in ({"group": "city"}, {"group": "day", "by": "year"}):
        chart = only_chart({"type": "pie", "limit": 40, **group}, rows)
        assert len(chart.categories) == charts.MAX_SLICES == 12
        assert sum(chart.series[0].values) == 31


def test_missing_values_and_the_rest_have_names_that_no_value_has() -> None:
    rows = [{"city": None}, {"city": "no city"}, {"city": "no city"}]
    chart = only_chart({"type": "bar", "group": "city"}, rows)
    assert dict(zip(chart.categories, chart.series[0].values, strict=True)) == {
        "no city": 2, "no city (empty)": 1,
    }  # fmt: skip
    rows = [{"city": "Other (2)"}] * 3 + [{"city": "a"}, {"city": "b"}]
    chart = only_chart({"type": "bar", "group": "city", "limit": 2}, rows)
    assert chart.categories == ("Other (2)", "Other (2) (together)")


def test_the_first_and_the_last_day_of_all_are_dates_of_every_zone() -> None:
    ends = [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)]
    for zone in ("Europe/Berlin", "America/New_York", None):
        columns = [{**column, "zone": zone} if column["name"] == "at" else column for column in COLUMNS]
        spec = spec_with({"type": "column", "group": "at", "by": "year", "limit": 2}, columns=columns)
        (chart,) = arranged(laid_out(spec, [{"at": at} for at in ends])).charts
        assert chart.categories == ("Before 9999", "9999")


@pytest.mark.parametrize("far", [date(9999, 12, 31), date(2999, 1, 1), date(2099, 12, 31)])
def test_a_far_date_that_stands_for_no_end_leaves_room_for_the_others(far: date) -> None:
    rows = [{"day": day} for day in (date(2026, 1, 5), date(2026, 3, 7), far, date(9999, 12, 31))]
    chart = only_chart({"type": "column", "group": "day", "limit": 4}, rows)
    assert chart.categories == ("Jan 2026", "Feb 2026", "Mar 2026", "After Mar 2026")
    assert chart.series[0].values == (1, 0, 1, 2)
    rows += [{"day": date(2020, 1, 1)}, {"day": None}]
    chart = only_chart({"type": "column", "group": "day", "limit": 4}, rows)
    assert chart.categories == ("Before Feb 2026", "Feb 2026", "Mar 2026", "After Mar 2026", "None")


def test_far_dates_among_others_are_periods_as_any() -> None:
    rows = [{"day": date(2098 + n, 1, 1)} for n in range(4)]
    chart = only_chart({"type": "column", "group": "day", "by": "year"}, rows)
    assert chart.categories == ("2098", "2099", "2100", "2101")


def test_a_column_of_other_formats_is_not_charted() -> None:
    columns = [
        {**column, "formats": ["csv", "excel"]} if column["name"] == "status" else column
        for column in COLUMNS
    ]
    made = laid_out(spec_with({"type": "bar", "group": "status"}, columns=columns), [{"status": "A"}])
    assert arranged(made, "pdf").charts == ()
    assert len(arranged(made, "excel").charts) == 1


def test_long_texts_of_groups_leave_the_chart_out_before_they_fill_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(chart_sums, "MAX_KEY_BYTES", 10_000)
    spec = spec_with({"type": "bar", "group": "city"})
    repeated = arranged(laid_out(spec, [{"city": "x" * 3_000}] * 50))
    assert len(repeated.charts) == 1
    made = arranged(laid_out(spec, [{"city": f"{n}" + "x" * 3_000} for n in range(50)]))
    assert made.charts == ()
    assert made.notes == (
        "The chart 'Rows by City' is left out: the names of its groups would have more than 10,000 bytes.",
    )


def test_a_pie_with_a_negative_slice_is_drawn_as_bars() -> None:
    rows = [{"city": "a", "price_cents": -1}, {"city": "b", "price_cents": 5}]
    assert only_chart({"type": "pie", "group": "city", "measure": "price_cents"}, rows).type == "bar"


def test_too_many_values_leave_the_chart_out_with_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chart_sums, "MAX_VALUES", 5)
    made = arranged(
        laid_out(
            spec_with({"type": "bar", "group": "city"}),
            [{"city": str(n)} for n in range(20)],
        )
    )
    assert made.charts == ()
    assert made.notes == ("The chart 'Rows by City' is left out: it would have more than 5 groups.",)


def test_charts_are_for_people_and_only_of_columns_that_the_request_has() -> None:
    spec = spec_with(
        {"type": "bar", "group": "city", "measure": "price_cents"},
        {"type": "bar", "group": "owner"},
        print=["id", "city"],
    )
    rows = [{"city": "a", "owner": "x", "price_cents": 1}]
    titles = [chart.title for chart in arranged(laid_out(spec, rows)).charts]
    assert titles == ["Price by City"]  # the owner, who is not printed, is personal
    assert [c.title for c in arranged(laid_out(spec, rows, columns=["owner", "city"])).charts] == [
        "Rows by Owner"
    ]
    assert arranged(laid_out(spec, rows), "csv").charts == ()
    assert arranged(laid_out(spec, rows, excel_layout="plain"), "excel").charts == ()
    assert arranged(laid_out(spec, [])).charts == ()


SCORES = st.floats(-1e300, 1e300).filter(lambda score: score == 0 or abs(score) > 1e-250)
"""Scores whose sums can be drawn."""
ROW = st.fixed_dictionaries(
    {
        "city": st.none() | st.sampled_from("abcdefgh"),
        "day": st.none() | st.dates(),
        "price_cents": st.none() | st.integers(-(2**63), 2**63 - 1),
        "score": st.none() | SCORES | st.just(math.nan),
    }
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(ROW, min_size=1, max_size=60),
    st.sampled_from(["city", "day"]),
    st.sampled_from(["price_cents", "score"]),
    st.sampled_from([None, "city"]),
    st.integers(2, 6),
)
def test_any_chart_is_small_and_adds_up_to_its_rows(
    rows: list[dict[str, Any]], group: str, measure: str, split_by: str | None, limit: int
) -> None:
    declared = {"type": "column", "group": group, "measure": measure, "split_by": split_by, "limit": limit}
    chart = only_chart(declared, rows)
    assert len(chart.categories) <= limit + 1  # rows without a date have a place of their own
    assert len(chart.series) <= charts.MAX_PARTS
    for series in chart.series:
        assert len(series.values) == len(chart.categories)
    values = [value for series in chart.series for value in series.values]
    cells = [row[measure] for row in rows if row[measure] is not None and row[measure] == row[measure]]
    if measure == "price_cents":
        assert sum(map(Decimal, values)) == Decimal(sum(cells)).scaleb(-2)
    else:
        assert sum(values) == pytest.approx(math.fsum(cells), rel=1e-9, abs=1e-9 * math.fsum(map(abs, cells)))


@pytest.mark.parametrize(
    ("declared", "field", "message"),
    [
        ({"type": "bar", "group": "citi"}, "group", "city"),
        ({"type": "bar", "group": "score"}, "group", "categories are"),
        ({"type": "bar", "group": "city", "measure": "status"}, "measure", "only numbers and money"),
        ({"type": "bar", "group": "city", "measure": ["fee", "fee"]}, "measure", "named twice"),
        ({"type": "bar", "group": "city", "by": "day"}, "by", "date or timestamp"),
        ({"type": "pie", "group": "city", "split_by": "status"}, "", "a pie has one measure"),
        (
            {"type": "bar", "group": "city", "split_by": "status", "measure": ["fee", "score"]},
            "",
            "one measure",
        ),
        ({"type": "bar", "group": "city", "limit": 1}, "limit", "greater than or equal to 2"),
        ({"type": "donut", "group": "city"}, "type", "bar"),
    ],
)
def test_a_chart_that_means_nothing_is_refused(declared: dict[str, Any], field: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        spec_with(declared)
    assert field in str(error.value)


def test_a_guarded_column_is_in_no_chart() -> None:
    columns = [*COLUMNS, {"name": "pay", "type": "money", "readers": "bosses"}]
    columns.append({"name": "cost", "type": "money", "compute": "pay * 2"})
    readers = {"bosses": {"table": "bosses", "user": "user_id"}}
    for measure in ("pay", "cost"):
        with pytest.raises(ValueError, match="pay has readers"):
            spec_with({"type": "bar", "group": "city", "measure": measure}, columns=columns, readers=readers)
