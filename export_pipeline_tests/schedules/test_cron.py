"""Schedules with a cron line, hourly ones, and those that export every row."""

import sqlite3
from collections.abc import Callable, Collection
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pandas as pd
import psycopg2
import pytest
import sqlalchemy as sa

from export_pipeline.jobs import Ledger
from export_pipeline.schedules.due_requests import claim_due, run_now
from export_pipeline.schedules.due_times import Schedule, due, next_run
from export_pipeline.schedules.editing import get_schedule
from export_pipeline.schedules.periods import period_of, window_of
from export_pipeline_tests.jobs.clocks import Clock
from export_pipeline_tests.jobs.database import Database
from export_pipeline_tests.schedules.scheduling import DAY, START, insert

QUARTER = timedelta(minutes=15)
ZONES = {
    "America/New_York": 2025,
    "Europe/Berlin": 2025,
    "Asia/Kathmandu": 2025,
    "Australia/Lord_Howe": 2025,
    "Africa/Cairo": 2024,
    "Asia/Beirut": 2025,
    "Pacific/Apia": 2011,
    "Africa/Casablanca": 2025,
}
"""The first of two years. Cairo's and Apia's have a leap day, and Apia skips a day."""
HALF_HOURS = "Australia/Lord_Howe"
"""Its clock is set back by half an hour: of the minutes shown twice, a line that runs each hour takes one."""


def near_a_change(zone: str, at: datetime) -> bool:
    hours = timedelta(hours=24)
    return len({moment.astimezone(ZoneInfo(zone)).utcoffset() for moment in (at - hours, at, at + hours)}) > 1


def clear(times: list[datetime], zone: str) -> list[datetime]:
    """The times that no change of half an hour makes ambiguous."""
    return times if zone != HALF_HOURS else [at for at in times if not near_a_change(zone, at)]


def on_the_clock(
    zone: str, hours: Collection[int], minutes: Collection[int], first: datetime, last: datetime
) -> list[datetime]:
    """Every quarter of an hour at which the zone's clock shows one of the hours and minutes."""
    quarters = pd.date_range(first, last, freq="15min")
    wall = quarters.tz_convert(zone)
    shown = quarters[wall.hour.isin(list(hours)) & wall.minute.isin(list(minutes))]
    return [at.to_pydatetime() for at in shown if at > first]


def at_local_time(
    zone: str, hour: int, minute: int, is_meant: Callable[[date], bool], first: datetime, last: datetime
) -> list[datetime]:
    """Once for each local day that is meant, at the first moment at which the clock shows the time or skips it."""
    runs, day = [], first.date() - DAY
    while day <= last.date() + DAY:
        if is_meant(day):  # a day that the zone skips runs after the gap
            runs.append(Clock.of(zone).first_at(datetime(day.year, day.month, day.day, hour, minute)))
        day += DAY
    return [at for at in runs if first < at <= last]


Stretch = tuple[datetime, datetime]


def two_years(zone: str) -> Stretch:
    first = datetime(ZONES[zone], 1, 2, tzinfo=UTC)
    return first, first + timedelta(days=730)


def odd_weeks(zone: str) -> list[Stretch]:
    """A week on either side of each change of the clock in two years, and an ordinary week."""
    first, last = two_years(zone)
    noons = [first + timedelta(days=day, hours=12) for day in range(730)]
    offsets = [noon.astimezone(ZoneInfo(zone)).utcoffset() for noon in noons]
    changes = [at for at, (one, other) in zip(noons[1:], pairwise(offsets), strict=True) if one != other]
    stretches = [(first, first + 7 * DAY)]
    for at in changes:
        begin, end = max(at - 7 * DAY, stretches[-1][1]), min(at + 7 * DAY, last)
        stretches.append((begin, end))
    return stretches


@pytest.mark.slow
@pytest.mark.parametrize("zone", ZONES)
def test_cron_lines_run_once_a_day_or_week_for_two_years_without_a_gap(zone: str) -> None:
    first, last = two_years(zone)
    lines = {
        "0 7 * * 1-5": at_local_time(zone, 7, 0, lambda day: day.isoweekday() < 6, first, last),
        "30 23 * * 7": at_local_time(zone, 23, 30, lambda day: day.isoweekday() == 7, first, last),
        # The hours that the zones skip and repeat.
        "30 2 * * *": at_local_time(zone, 2, 30, lambda day: True, first, last),
        "15 0 * * *": at_local_time(zone, 0, 15, lambda day: True, first, last),
        "45 23 * * *": at_local_time(zone, 23, 45, lambda day: True, first, last),
        # Days that not every month or year has.
        "0 2 30 * *": at_local_time(zone, 2, 0, lambda day: day.day == 30, first, last),
        "30 2 31 * *": at_local_time(zone, 2, 30, lambda day: day.day == 31, first, last),
        "0 2 29 2 *": at_local_time(zone, 2, 0, lambda day: (day.month, day.day) == (2, 29), first, last),
        "0 0 1 * *": at_local_time(zone, 0, 0, lambda day: day.day == 1, first, last),
        "0 0 L * *": at_local_time(zone, 0, 0, lambda day: (day + DAY).day == 1, first, last),
    }
    for line, times in lines.items():
        check_runs(line, zone, (first, last), times, every=97)


@pytest.mark.slow
@pytest.mark.parametrize("zone", ZONES)
def test_cron_lines_run_each_hour_once_without_a_gap_when_clocks_change(zone: str) -> None:
    for stretch in odd_weeks(zone):
        lines = {
            "*/30 * * * *": on_the_clock(zone, range(24), {0, 30}, *stretch),
            "45 * * * *": on_the_clock(zone, range(24), {45}, *stretch),
            "*/15 8-17 * * *": on_the_clock(zone, range(8, 18), {0, 15, 30, 45}, *stretch),
        }
        for line, times in lines.items():
            check_runs(line, zone, stretch, times, every=41)


def check_runs(line: str, zone: str, stretch: Stretch, times: list[datetime], every: int) -> None:
    """Compare all runs of a line in a stretch with those times, and each so many with single calls."""
    first, last = stretch
    schedule = Schedule("cron", cron=line, timezone=zone)
    runs = due(schedule, first, last, "all")
    assert clear([run.scheduled_for for run in runs], zone) == clear(times, zone), line
    windows = [run.window for run in runs if run.window]
    assert all(run.window and run.window.end == run.scheduled_for for run in runs)
    assert all(one.end == other.start for one, other in pairwise(windows)), line
    assert len({run.name for run in runs}) == len(runs)
    for at, following in list(pairwise(times))[::every]:
        if zone == HALF_HOURS and near_a_change(zone, following):
            continue
        assert due(schedule, first, following - QUARTER / 2, "last")[0].scheduled_for == at
        assert next_run(schedule, at) == following


@pytest.mark.slow
@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("minute", [0, 15])
def test_each_hour_of_the_clock_runs_once_when_clocks_change(zone: str, minute: int) -> None:
    """In some zones an hour of the clock has 30 or 90 minutes now and then; none is left out."""
    for first, last in odd_weeks(zone):
        runs = due(Schedule("hourly", minute=minute, timezone=zone), first, last, "all")
        times = on_the_clock(zone, range(24), {minute}, first, last)
        assert clear([run.scheduled_for for run in runs], zone) == clear(times, zone)
        windows = list(dict.fromkeys(run.window for run in runs if run.window))
        assert all(one.end == other.start for one, other in pairwise(windows))
        assert {window.start.astimezone(ZoneInfo(zone)).minute for window in windows} == {0}
        assert all(run.window and run.window.end <= run.scheduled_for for run in runs)


@pytest.mark.parametrize(
    ("zone", "changes"), [("Europe/Berlin", 4), ("Africa/Casablanca", 4), ("Asia/Kathmandu", 0)]
)
def test_the_odd_weeks_are_those_in_which_clocks_change(zone: str, changes: int) -> None:
    weeks = odd_weeks(zone)
    assert len(weeks) == 1 + changes
    assert [near_a_change(zone, one + (other - one) / 2) for one, other in weeks[1:]] == [True] * changes


def test_a_cron_line_exports_the_time_since_its_run_before(
    database: Database, engine: sa.Engine, ledger: Ledger
) -> None:
    insert(database, cadence="cron", cron="0 7 * * 1-5", timezone="Europe/Berlin")
    saturday, monday = datetime(2025, 3, 1, 6, tzinfo=UTC), datetime(2025, 3, 3, 6, tzinfo=UTC)
    assert claim_due(engine, saturday, 10) == []
    (ask,) = claim_due(engine, monday, 10)
    job = ledger.get(ask.job_id)
    assert job.window_key == "cron/2025-02-28T0600Z_2025-03-03T0600Z"
    window = window_of(job.options)
    assert window
    assert window.period() == "2025-02-28 07:00+01:00 to 2025-03-03 07:00+01:00"
    assert claim_due(engine, monday + DAY, 10)[0].scheduled_for == monday + DAY


def test_every_row_as_of_each_run(database: Database, engine: sa.Engine, ledger: Ledger) -> None:
    schedule_id = insert(database, cadence="weekly", hour=7, export_window="none")
    monday = datetime(2025, 3, 3, 7, tzinfo=UTC)
    (ask,) = claim_due(engine, monday, 10)
    job = ledger.get(ask.job_id)
    assert (job.window_key, job.options) == ("weekly/2025-03-03T0700Z", {"empty": "send"})
    assert (ask.window, window_of(job.options), period_of(job)) == (None, None, None)
    assert claim_due(engine, monday + 6 * DAY, 10) == []

    by_hand, is_new = run_now(engine, schedule_id, monday + DAY)
    assert is_new
    assert ledger.get(by_hand).window_key == "weekly/2025-03-04T0700Z"
    assert claim_due(engine, monday + 7 * DAY, 10)


def test_several_formats_are_requested_together(
    database: Database, engine: sa.Engine, ledger: Ledger
) -> None:
    schedule_id = insert(database, format="excel", additional_formats='["csv", "excel"]')
    asks = claim_due(engine, START + DAY, 10)
    jobs = [ledger.get(ask.job_id) for ask in asks]
    assert [(job.format, job.window_key) for job in jobs] == [
        ("excel", "daily/2025-03-01"),
        ("csv", "daily/2025-03-01/csv"),
    ]
    assert {period_of(job) for job in jobs} == {"2025-03-01"}
    assert run_now(engine, schedule_id, START + DAY) == (jobs[0].id, False)
    again, is_new = run_now(engine, schedule_id, START + DAY, again=True)
    assert is_new
    assert period_of(ledger.get(again)) == "2025-03-01"
    assert len(ledger.find()) == 4


def test_the_database_refuses_other_windows_and_formats(database: Database) -> None:
    for fields in (
        {"export_window": "all"},
        {"additional_formats": '"csv"'},
        {"additional_formats": '["' + "x" * 2_000 + '"]'},
        {"cron": "0" * 201},
    ):
        with pytest.raises((sqlite3.IntegrityError, psycopg2.IntegrityError)):
            insert(database, START, **fields)


def test_an_edited_line_neither_loses_nor_doubles_rows(database: Database, engine: sa.Engine) -> None:
    database_id = insert(database, cadence="cron", cron="0 7,12 * * *")
    day = datetime(2025, 3, 1, tzinfo=UTC)
    hours = []
    for hour, line in ((7, "0 7,12 * * *"), (12, "0 7,18 * * *"), (18, "0 9 * * *"), (24 + 9, "0 9 * * *")):
        (ask,) = claim_due(engine, day + timedelta(hours=hour), 10)
        assert ask.window
        hours.append((ask.window.start, ask.window.end))
        database.run("UPDATE scheduled_exports SET cron = ? WHERE id = ?", line, database_id)
    assert all(one[1] == other[0] for one, other in pairwise(hours))
    assert run_now(engine, database_id, day + timedelta(hours=34)) == (ask.job_id, False)


def test_the_first_run_is_after_the_schedule_was_made_even_in_a_repeated_hour() -> None:
    for zone, now in (("America/New_York", datetime(2025, 11, 2, 6, 1, tzinfo=UTC)),
                      ("Europe/Berlin", datetime(2025, 10, 26, 1, 10, tzinfo=UTC))):  # fmt: skip
        for line in ("30 1 * * *", "30 2 * * *", "0 1-3 * * *"):
            assert next_run(Schedule("cron", cron=line, timezone=zone), now) > now


@pytest.mark.parametrize("value", ["[1]", "[{}]", '[["csv"]]', "[null]"])
def test_formats_that_are_no_texts_are_named_and_can_be_listed(
    database: Database, engine: sa.Engine, value: str
) -> None:
    broken, sound = insert(database, additional_formats=value), insert(database)
    assert [ask.schedule_id for ask in claim_due(engine, START + DAY, 10)] == [sound]
    schedule = get_schedule(engine, broken)
    assert "additional_formats" in str(schedule.problem)
    assert all(isinstance(format, str) for format in schedule.formats)


def test_a_time_of_a_run_that_is_none_is_refused(database: Database, ledger: Ledger) -> None:
    for value in ("soon", "20000-01-01T00:00:00+00:00", "0044-03-15 00:00:00+00 BC"):
        with pytest.raises((sqlite3.IntegrityError, psycopg2.DatabaseError)):
            database.run(
                "INSERT INTO export_jobs (dataset, format, scheduled_for) VALUES ('t', 'csv', ?)", value
            )
    database.run("INSERT INTO export_jobs (dataset, format) VALUES ('t', 'csv')")
    assert len(ledger.find()) == 1
