"""A window in words and in file names: its first and last day, by the clock of its own zone."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from export_pipeline.core.windows import Window
from export_pipeline.schedules.due_times import Schedule, due


def _window(start: str, end: str, zone: str) -> Window:
    """A window between two times of a zone's clock, its ends in UTC."""
    first, last = (
        datetime.fromisoformat(one).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC) for one in (start, end)
    )
    return Window("w", first, last, timezone=zone)


@pytest.mark.parametrize(
    ("start", "end", "zone", "period", "file_part"),
    [
        ("2026-11-20", "2026-11-21", "UTC", "2026-11-20", "20261120"),
        ("2026-10-05", "2026-10-12", "Europe/Berlin", "2026-10-05 to 2026-10-11", "20261005-20261011"),
        ("2026-10-01", "2026-11-01", "Europe/Berlin", "2026-10-01 to 2026-10-31", "20261001-20261031"),
        ("2026-10-01", "2026-11-01", "Pacific/Kiritimati", "2026-10-01 to 2026-10-31", "20261001-20261031"),
        ("2026-03-29", "2026-03-30", "America/New_York", "2026-03-29", "20260329"),
        # Clocks skip midnight: the day begins at one.
        ("2018-11-04T01:00", "2018-11-05", "America/Sao_Paulo", "2018-11-04", "20181104"),
        ("2018-11-03", "2018-11-04T01:00", "America/Sao_Paulo", "2018-11-03", "20181103"),
        ("2026-10-05T06:00", "2026-10-05T18:00", "Europe/Berlin",
         "2026-10-05 06:00+02:00 to 2026-10-05 18:00+02:00", "20261005T0600-20261005T1800"),
        ("2026-10-05", "2026-10-05T18:00", "Europe/Berlin",
         "2026-10-05 00:00+02:00 to 2026-10-05 18:00+02:00", "20261005T0000-20261005T1800"),
    ],
)  # fmt: skip
def test_the_first_and_the_last_day(start: str, end: str, zone: str, period: str, file_part: str) -> None:
    window = _window(start, end, zone)
    assert (window.period(), window.file_part) == (period, file_part)


@pytest.mark.parametrize(
    ("start", "end", "zone", "previous"),
    [
        ("2026-11-20", "2026-11-21", "UTC", "2026-11-19"),
        ("2026-10-05", "2026-10-12", "Europe/Berlin", "2026-09-28 to 2026-10-04"),
        ("2026-03-01", "2026-04-01", "Europe/Berlin", "2026-02-01 to 2026-02-28"),
        ("2024-03-01", "2024-04-01", "America/New_York", "2024-02-01 to 2024-02-29"),
        ("2026-01-01", "2026-02-01", "UTC", "2025-12-01 to 2025-12-31"),
        ("2026-01-01", "2026-04-01", "UTC", "2025-10-01 to 2025-12-31"),
        ("2026-01-01", "2027-01-01", "Europe/Berlin", "2025-01-01 to 2025-12-31"),
        ("2026-02-15", "2026-03-15", "UTC", "2026-01-18 to 2026-02-14"),
        # The clock is changed within the window, or within the one before.
        ("2026-03-29", "2026-03-30", "Europe/Berlin", "2026-03-28"),
        ("2026-03-30", "2026-04-06", "Europe/Berlin", "2026-03-23 to 2026-03-29"),
        ("2018-11-05", "2018-11-06", "America/Sao_Paulo", "2018-11-04"),
        ("2026-10-05T06:00", "2026-10-05T18:00", "UTC",
         "2026-10-04 18:00+00:00 to 2026-10-05 06:00+00:00"),
    ],
)  # fmt: skip
def test_the_period_before(start: str, end: str, zone: str, previous: str) -> None:
    window = _window(start, end, zone)
    before = window.previous
    assert before is not None
    assert (before.period(), before.end) == (previous, window.start)


def test_before_the_first_year_there_is_no_period() -> None:
    assert _window("0001-01-01", "0001-02-01", "UTC").previous is None


def test_windows_of_the_hour_that_occurs_twice_differ() -> None:
    start = datetime(2026, 10, 25, 0, 0, tzinfo=UTC)
    quarters = [start + n * timedelta(minutes=15) for n in range(9)]
    windows = [Window("w", *ends, "Europe/Berlin") for ends in pairwise(quarters)]
    assert windows[0].file_part == "20261025T0200+0200-20261025T0215+0200"
    assert windows[4].file_part == "20261025T0200+0100-20261025T0215+0100"
    assert windows[3].period() == "2026-10-25 02:45+02:00 to 2026-10-25 02:00+01:00"
    assert len({window.file_part for window in windows}) == len({window.period() for window in windows}) == 8


def test_seconds_are_shown_where_there_are_some() -> None:
    window = _window("2026-10-05T06:00:30", "2026-10-05T06:01", "Europe/Berlin")
    assert window.period() == "2026-10-05 06:00:30+02:00 to 2026-10-05 06:01:00+02:00"
    assert window.file_part == "20261005T060030-20261005T060100"


def test_an_export_of_all_that_existed_says_so() -> None:
    october = _window("2026-10-01", "2026-11-01", "Europe/Berlin")
    assert october.period(as_of=True) == "rows that existed by the end of 2026-10-31"
    until_six = _window("2026-10-01", "2026-10-31T18:00", "Europe/Berlin")
    assert until_six.period(as_of=True) == "rows that existed by 2026-10-31 18:00+01:00"


def test_without_a_zone_the_ends_offsets_count() -> None:
    east = timezone(timedelta(hours=14))
    window = Window("w", datetime(2026, 10, 1, tzinfo=east), datetime(2026, 10, 8, tzinfo=east))
    assert window.period() == "2026-10-01 to 2026-10-07"


@pytest.mark.parametrize("cadence", ["daily", "weekly", "monthly"])
@pytest.mark.parametrize(
    "zone",
    ["UTC", "Europe/Berlin", "Pacific/Apia", "Pacific/Kiritimati", "America/Sao_Paulo", "Asia/Kathmandu"],
)
def test_every_window_of_a_schedule_has_whole_days(cadence: str, zone: str) -> None:
    since = datetime(2011, 11, 1, tzinfo=UTC)
    runs = due(Schedule(cadence, timezone=zone), since, since + timedelta(days=400), "all")
    for run in runs:
        days = run.window.days
        assert days is not None
        assert days[0] == date.fromisoformat(run.window.name)
        assert days[0] <= days[1] < (run.window.end + timedelta(hours=1)).astimezone(ZoneInfo(zone)).date()
