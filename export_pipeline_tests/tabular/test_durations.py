"""Durations as JSON has them, and with their days in words."""

from datetime import timedelta

import pyarrow as pa
import pytest

from export_pipeline.core.layout import Content, Presentation
from export_pipeline.core.tables import Table
from export_pipeline.tabular.columns import column_of, shown_table, to_day_durations, to_iso_durations
from export_pipeline.tabular.spec import ColumnSpec


@pytest.mark.parametrize(
    ("clock", "iso"),
    [
        ("0:00:00", "P0DT00H00M00S"),
        ("26:03:04", "P1DT02H03M04S"),
        ("-1:02:03", "-P0DT01H02M03S"),
        ("2516:10:59", "P104DT20H10M59S"),
        (None, None),
        ("", ""),
        ("1:2:3", "1:2:3"),
        ("9" * 15 + ":00:00", "P41666666666666DT15H00M00S"),
        ("9" * 16 + ":00:00", "9" * 16 + ":00:00"),
    ],
)
def test_a_duration_is_iso_8601_where_programs_read_it(clock: str | None, iso: str | None) -> None:
    assert to_iso_durations(pa.array(["0:00:01", clock], pa.string())).to_pylist()[1] == iso


def test_days_in_words_are_those_of_python() -> None:
    times = [timedelta(seconds=n) for n in (0, 59, 3600, 86399, 86400, 93784, 172800, 8 * 10**9)]
    clocks = [f"{int(t.total_seconds()) // 3600}{str(t)[-6:]}" for t in times]
    assert to_day_durations(pa.array(clocks, pa.string())).to_pylist() == [str(time) for time in times]
    others = [None, "", "-26:00:00", "a day", "9" * 16 + ":00:00"]
    assert to_day_durations(pa.array(others, pa.string())).to_pylist() == others


@pytest.mark.parametrize(
    ("type", "format", "shown"),
    [
        ("duration", "csv", "26:03:04"),
        ("duration(days)", "csv", "1 day, 2:03:04"),
        ("Duration(days)", "excel", "1 day, 2:03:04"),
        ("duration(days)", "json", "P1DT02H03M04S"),
    ],
)
def test_a_column_declares_how_its_durations_are_shown(type: str, format: str, shown: str) -> None:
    column = ColumnSpec(name="t", type=type)
    table = Table.of("t", (column_of(column),), pa.table({"t": ["26:03:04"]}))
    made = shown_table(table, [column], Presentation(format, Content.ROWS))
    assert made.arrow()["t"].to_pylist() == [shown]
