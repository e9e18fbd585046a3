"""Times as text, against Python's own time zones."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from export_pipeline.formats import times

ZONES = ["Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Pacific/Apia", "UTC"]
MOMENTS = st.datetimes(datetime(1900, 1, 1), datetime(2037, 12, 31), timezones=st.just(UTC))


@given(st.lists(st.none() | MOMENTS, max_size=8), st.sampled_from(ZONES))
def test_local_times_have_their_offset(moments: list[datetime | None], zone: str) -> None:
    texts = times.format_iso(pa.array(moments, pa.timestamp("us", "UTC")), zone).to_pylist()
    for moment, text in zip(moments, texts, strict=True):
        if moment is None:
            assert text is None
        else:
            assert datetime.fromisoformat(text) == moment
            local = moment.astimezone(ZoneInfo(zone)).isoformat(timespec="microseconds")
            assert text == (local.replace("+00:00", "Z") if zone == "UTC" else local)


def test_both_sides_of_a_change_of_clocks() -> None:
    first = datetime(2026, 3, 29, 0, 59, 59, tzinfo=UTC)
    texts = times.format_iso(
        pa.array([first, first + timedelta(seconds=1)], pa.timestamp("us", "UTC")), "Europe/Berlin"
    )
    assert texts.to_pylist() == ["2026-03-29T01:59:59.000000+01:00", "2026-03-29T03:00:00.000000+02:00"]
    again = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    texts = times.format_iso(
        pa.array([again, again + timedelta(hours=1)], pa.timestamp("us", "UTC")), "Europe/Berlin"
    )
    assert texts.to_pylist() == ["2026-10-25T02:30:00.000000+02:00", "2026-10-25T02:30:00.000000+01:00"]


@pytest.mark.parametrize(
    ("zone", "expected"),
    [
        ("UTC", ["0001-01-01T00:00:00.000000Z", "9999-12-31T23:59:59.999999Z"]),
        ("Asia/Tokyo", ["0001-01-01T09:18:59.000000+09:18:59", "9999-12-31T23:59:59.999999Z"]),
        ("America/New_York", ["0001-01-01T00:00:00.000000Z", "9999-12-31T18:59:59.999999-05:00"]),
    ],
)
def test_the_first_and_the_last_moment(zone: str, expected: list[str]) -> None:
    moments = [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)]
    assert times.format_iso(pa.array(moments, pa.timestamp("us", "UTC")), zone).to_pylist() == expected


@given(st.lists(st.none() | st.datetimes(), max_size=8))
def test_a_wall_clock_names_no_zone(moments: list[datetime | None]) -> None:
    texts = times.format_iso(pa.array(moments, pa.timestamp("us")), None).to_pylist()
    assert texts == [m and m.isoformat(timespec="microseconds") for m in moments]


@pytest.mark.slow
@given(st.lists(st.none() | st.datetimes(), max_size=8))
def test_a_pattern_formats_every_part_of_a_time(moments: list[datetime | None]) -> None:
    months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
    array = pa.array(moments, pa.timestamp("us"))
    expected = [
        m
        and f"{months[m.month - 1]} {m.day:02}, {m.year:04} ({m.month:02}) {m.hour:02}:{m.minute:02}.{m.second:02}"
        for m in moments
    ]
    text, cut = times.format_pattern(array, "MMM dd, yyyy (MM) HH:mm.ss", None)
    assert text.to_pylist() == expected
    assert cut == sum(m is not None and m.microsecond > 0 for m in moments)
    assert times.format_pattern(array, "yyyy", None)[0].to_pylist() == [m and f"{m.year:04}" for m in moments]
    assert times.format_pattern(array, "MMM yyyy", None)[1] == len(moments) - moments.count(None)


def test_patterns_are_in_the_columns_zone_also_of_parts_of_arrays() -> None:
    moments = [None, datetime(2026, 7, 1, 22, 30, tzinfo=UTC), None, datetime(2026, 1, 1, 23, 30, tzinfo=UTC)]
    array = pa.array(moments, pa.timestamp("us", "UTC"))[1:]
    assert times.format_pattern(array, "dd.MM.yyyy HH:mm", "Europe/Berlin")[0].to_pylist() == [
        "02.07.2026 00:30",
        None,
        "02.01.2026 00:30",
    ]
    assert times.format_iso(array, "Europe/Berlin").to_pylist() == [
        "2026-07-02T00:30:00.000000+02:00",
        None,
        "2026-01-02T00:30:00.000000+01:00",
    ]


@pytest.mark.parametrize(
    "zone", ["Europe/Berlin", "America/New_York", "Africa/Casablanca", "Australia/Lord_Howe"]
)
def test_clocks_are_changed_by_their_rules_after_2037(zone: str) -> None:
    moments = [datetime(year, 7, 1, 12, tzinfo=UTC) for year in (2037, 2038, 2050, 2087, 2500, 9998)]
    array = pa.array(moments, pa.timestamp("us", "UTC"))
    local = [moment.astimezone(ZoneInfo(zone)) for moment in moments]
    assert times.format_iso(array, zone).to_pylist() == [
        one.isoformat(timespec="microseconds") for one in local
    ]
    assert times.format_pattern(array, "yyyy-MM-dd HH:mm", zone)[0].to_pylist() == [
        one.strftime("%Y-%m-%d %H:%M") for one in local
    ]


@given(st.lists(st.none() | st.dates(date(1890, 1, 1), date(2110, 1, 1)), max_size=8))
def test_days_are_formatted_as_iso_8601(days: list[date | None]) -> None:
    assert times.format_iso_days(pa.array(days, pa.date32())).to_pylist() == [
        day and day.isoformat() for day in days
    ]


@pytest.mark.parametrize("day", [date(1, 1, 1), date(1900, 1, 1), date(2100, 1, 1), date(9999, 12, 31)])
def test_days_and_moments_in_and_out_of_the_tables_look_alike(day: date) -> None:
    moment = datetime(day.year, day.month, day.day, 23, 59, 59, 987_001)
    assert times.format_iso_days(pa.array([day, None])).to_pylist() == [day.isoformat(), None]
    texts = times.format_iso(pa.array([moment, None], pa.timestamp("us")), None).to_pylist()
    assert texts == [moment.isoformat(timespec="microseconds"), None]
