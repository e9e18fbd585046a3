"""Every value comes back as it went in, as other programs read it, or is counted."""

import math
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from python_calamine import CalamineWorkbook

from export_pipeline.core.columns import Kind
from export_pipeline.core.sanitize import GUARDED, REPLACED
from export_pipeline.formats.excel.numbers import DATE_OUT_OF_RANGE, KEEP_DIGITS, NOT_A_NUMBER
from export_pipeline.formats.excel.overflow import MOVED
from export_pipeline_tests.formats.excel.books import NAUGHTY, one_column, values, write

generous = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
LEGAL = st.characters(codec="utf-8", exclude_characters="\ufffe\uffff", exclude_categories=["Cs"]).filter(
    lambda c: c >= " " or c in "\t\n\r"
)


def calamine(path: Path) -> list[Any]:
    sheet = CalamineWorkbook.from_path(str(path)).get_sheet_by_index(0)
    return [row[0] for row in sheet.to_python(skip_empty_area=False)][3:]


def test_naughty_texts_stay_what_they_are(tmp_path: Path) -> None:
    path = tmp_path / "b.xlsx"
    texts = [*NAUGHTY, "x" * 32_767]
    rendered = write(one_column(Kind.TEXT, texts), path)
    assert calamine(path) == texts
    assert values(path) == texts
    assert not rendered.changed


def test_repeated_naughty_texts_stay_what_they_are_in_shared_strings(tmp_path: Path) -> None:
    path = tmp_path / "b.xlsx"
    texts = list(NAUGHTY) * 20
    write(one_column(Kind.TEXT, texts), path)
    assert calamine(path) == texts
    assert values(path) == texts


@pytest.mark.slow
@generous
@given(st.lists(st.text(LEGAL, max_size=40) | st.sampled_from(NAUGHTY) | st.none(), min_size=1, max_size=30))
def test_any_text_comes_back(tmp_path: Path, texts: list[str | None]) -> None:
    path = tmp_path / "b.xlsx"
    write(one_column(Kind.TEXT, [*texts, "end"]), path)
    assert calamine(path) == ["" if text is None else text for text in texts] + ["end"]


def test_characters_illegal_in_xml_are_replaced_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "b.xlsx"
    rendered = write(one_column(Kind.TEXT, ["a\x00b\x1f", "\ufffe\uffff", "fine", None]), path)
    assert values(path)[:3] == ["a\ufffdb\ufffd", "\ufffd\ufffd", "fine"]
    assert rendered.changed == {(REPLACED, "C"): 2}


def test_guard_is_an_option_and_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "b.xlsx"
    rendered = write(one_column(Kind.TEXT, ["=1+1", "-5", "plain", None]), path, {"guard_formulas": True})
    assert values(path)[:3] == ["'=1+1", "'-5", "plain"]
    assert rendered.changed == {(GUARDED, "C"): 2}


def test_no_text_is_a_formula(tmp_path: Path) -> None:
    import openpyxl

    path = tmp_path / "b.xlsx"
    write(one_column(Kind.TEXT, ["=1+1", "=HYPERLINK(1)"]), path)
    cells = [row[0] for row in openpyxl.load_workbook(path).active.iter_rows(min_row=4)]  # type: ignore[union-attr]
    assert [cell.data_type for cell in cells] == ["s", "s"]


@pytest.mark.slow
@generous
@given(st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-(10**6), 10**6), min_size=1, max_size=20))
def test_integers_are_numbers_or_keep_every_digit_as_text(tmp_path: Path, numbers: list[int]) -> None:
    path = tmp_path / "b.xlsx"
    rendered = write(one_column(Kind.INTEGER, numbers), path)
    odd = 0
    for number, cell in zip(numbers, values(path), strict=True):
        if len(str(abs(number)).rstrip("0")) > 15:
            odd += 1
            assert cell == str(number)
        else:
            assert cell == number
            assert not isinstance(cell, str)
    assert sum(rendered.changed.values()) == odd
    assert set(rendered.changed) <= {(KEEP_DIGITS, "C")}


@pytest.mark.slow
@generous
@given(
    st.lists(
        st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**20), max_value=10**20, places=10)
        | st.sampled_from(
            [Decimal(0), Decimal("1E-10"), Decimal("-0.00000123"), Decimal("12.5"), Decimal(100)]
        ),
        min_size=1,
        max_size=20,
    )
)
def test_decimals_are_exact(tmp_path: Path, numbers: list[Decimal]) -> None:
    path = tmp_path / "b.xlsx"
    rendered = write(one_column(Kind.DECIMAL, numbers), path)
    texts = 0
    for number, cell in zip(numbers, values(path), strict=True):
        texts += isinstance(cell, str)
        assert Decimal(repr(cell) if isinstance(cell, float) else str(cell)) == number
    assert sum(rendered.changed.values()) == texts


@pytest.mark.slow
@generous
@given(st.lists(st.floats(), min_size=1, max_size=20))
def test_floats_keep_every_bit(tmp_path: Path, numbers: list[float]) -> None:
    path = tmp_path / "b.xlsx"
    rendered = write(one_column(Kind.FLOAT, numbers), path)
    texts = 0
    for number, cell in zip(numbers, values(path), strict=True):
        texts += isinstance(cell, str)
        assert float(cell) == number or math.isnan(number)
        assert isinstance(cell, str) or math.isfinite(number)
    assert rendered.changed[NOT_A_NUMBER, "C"] == texts


def test_special_numbers_are_texts(tmp_path: Path) -> None:
    path = tmp_path / "b.xlsx"
    write(one_column(Kind.PERCENT, [math.nan, math.inf, -math.inf, None, 12.5]), path)
    assert values(path) == ["NaN", "Infinity", "-Infinity", None, 12.5]


@pytest.mark.slow
@generous
@given(st.lists(st.dates() | st.none(), min_size=1, max_size=20))
def test_dates_are_dates_or_iso_text(tmp_path: Path, days: list[date | None]) -> None:
    path = tmp_path / "b.xlsx"
    rendered = write(one_column(Kind.DATE, [*days, date(2020, 2, 29)]), path)
    odd = 0
    for day, cell in zip(days, values(path), strict=False):
        if day is None:
            assert cell is None
        elif day < date(1900, 3, 1):
            odd += 1
            assert cell == day.isoformat()
        else:
            assert cell == datetime(day.year, day.month, day.day)
    assert rendered.changed[DATE_OUT_OF_RANGE, "C"] == odd


@pytest.mark.slow
@generous
@given(st.lists(st.datetimes(datetime(1900, 3, 1), datetime(2070, 1, 1)), min_size=1, max_size=20))
def test_timestamps_are_real_dates(tmp_path: Path, moments: list[datetime]) -> None:
    """In a report they are cut to the second that programs show; plain ones are kept to the millisecond."""
    column = one_column(Kind.TIMESTAMP, [moment.replace(tzinfo=UTC) for moment in moments])
    report, plain = tmp_path / "report.xlsx", tmp_path / "plain.xlsx"
    write(column, report)
    assert values(report) == [moment.replace(microsecond=0) for moment in moments]
    write(column, plain, {"layout": "plain"})
    sheet = openpyxl.load_workbook(plain).worksheets[0]
    cells = [row[0] for row in sheet.iter_rows(min_row=2, values_only=True)]
    for moment, cell in zip(moments, cells, strict=True):
        assert isinstance(cell, datetime)
        assert abs(cell - moment) <= timedelta(milliseconds=1)


def test_timestamps_are_utc_and_say_so(tmp_path: Path) -> None:
    import openpyxl

    path = tmp_path / "b.xlsx"
    zone = pa.timestamp("us", tz="America/New_York")
    moment = datetime(2025, 7, 1, 12, tzinfo=UTC)
    rendered = write(
        one_column(Kind.TIMESTAMP, pa.array([moment, datetime(1850, 1, 1, tzinfo=UTC)], zone)), path
    )
    sheet = openpyxl.load_workbook(path).active
    assert sheet is not None
    assert sheet["A3"].value == "C (UTC)"
    assert sheet["A4"].value == datetime(2025, 7, 1, 12)
    assert sheet["A5"].value == "1850-01-01T00:00:00"
    assert rendered.changed == {(DATE_OUT_OF_RANGE, "C"): 1}


def test_the_ends_of_time_do_not_stop_an_export(tmp_path: Path) -> None:
    write(
        one_column(Kind.DATE, pa.array([2**31 - 1, -(2**31), None], pa.int32()).cast(pa.date32())),
        tmp_path / "b",
    )
    ends = pa.array([2**63 - 1, -(2**63), None], pa.int64()).cast(pa.timestamp("us", tz="UTC"))
    assert write(one_column(Kind.TIMESTAMP, ends), tmp_path / "c").changed == {(DATE_OUT_OF_RANGE, "C"): 2}


def test_booleans_are_booleans(tmp_path: Path) -> None:
    path = tmp_path / "b.xlsx"
    write(one_column(Kind.BOOLEAN, [True, False, None, True]), path)
    assert values(path) == [True, False, None, True]


@pytest.mark.parametrize("kind", list(Kind))
def test_a_column_of_nulls_is_a_column_of_empty_cells(kind: Kind, tmp_path: Path) -> None:
    path = tmp_path / "b.xlsx"
    write(one_column(kind, [None] * 20), path)
    assert not any(values(path))


@pytest.mark.parametrize("text", ["long " * 8_000, "🏗" * 16_384 + "end", "&<>" * 30_000])
def test_a_text_longer_than_a_cell_stands_whole_on_its_own_sheet(text: str, tmp_path: Path) -> None:
    import openpyxl

    path = tmp_path / "b.xlsx"
    rendered = write(one_column(Kind.TEXT, ["short", text, None, text]), path)
    book = openpyxl.load_workbook(path)
    assert book.sheetnames == ["S", "Overflow"]
    assert book["S"]["A5"].value.startswith(f"[see Overflow!C4 for the whole text] {text[:100]}")
    rows = list(book["Overflow"].iter_rows(min_row=4, values_only=True))
    assert [row[:2] for row in rows] == [("S", "A5"), ("S", "A7")]
    assert ["".join(piece or "" for piece in row[2:]) for row in rows] == [text, text]
    assert rendered.changed == {(MOVED, "C"): 2}
