import random
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from export_pipeline.jobs.errors import ScheduleError
from export_pipeline.schedules.due_times import GRACE, MISFIRES, Schedule, due, next_run
from export_pipeline_tests.jobs.clocks import DAY, YEARS, expected

SCHEDULES = [
    # Clocks change in the first hours of a day, so all zones try these; each of the other hours is one zone's.
    *({"cadence": "daily", "hour": hour, "minute": 30 * (hour % 2)} for hour in (0, 1, 2, 3, 4, 5, 12, 23)),
    *({"cadence": "weekly", "hour": hour, "weekday": 1 + hour % 7} for hour in range(24)),
    *(
        {"cadence": "monthly", "hour": hour, "minute": 15, "day_of_month": day}
        for hour, day in enumerate([1, 2, 15, 28, 29, 30, 31, *range(3, 20)])
    ),
    {"cadence": "daily", "hour": 0, "minute": 0},
    {"cadence": "daily", "hour": 2, "minute": 0},
    {"cadence": "daily", "hour": 2, "minute": 15},
    {"cadence": "daily", "hour": 2, "minute": 30},
    {"cadence": "daily", "hour": 1, "minute": 59},
    {"cadence": "weekly", "hour": 0, "weekday": 5},
    {"cadence": "weekly", "hour": 2, "minute": 30, "weekday": 7},
]


OTHER_HOURS = [*range(6, 12), *range(13, 23)]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "zone"), enumerate(YEARS))
def test_two_years_of_every_cadence_and_hour(number: int, zone: str) -> None:
    chance = random.Random(zone)
    own = [{"cadence": "daily", "hour": hour, "minute": 45} for hour in OTHER_HOURS[number :: len(YEARS)]]
    for fields in [*SCHEDULES, *own]:
        schedule = Schedule(**fields, timezone=zone)
        runs = expected(schedule)
        times = [run.scheduled_for for run in runs]
        assert all(one < other for one, other in pairwise(times))
        assert all(one.window.end == other.window.start for one, other in pairwise(runs))
        assert all(run.window.start < run.window.end <= run.scheduled_for for run in runs)

        windows = due(schedule, times[0] - timedelta(seconds=1), times[-1], "all")
        assert windows == runs
        for run in windows:
            wall = run.scheduled_for.astimezone(schedule.zone)
            if (wall.hour, wall.minute) != (schedule.hour, schedule.minute):
                before = (run.scheduled_for - timedelta(minutes=1)).astimezone(schedule.zone)
                assert wall.replace(tzinfo=None) - before.replace(tzinfo=None) > timedelta(minutes=1)
            assert str(run.window.start.date()) == run.window.name
            for end in (run.window.start, run.window.end):
                assert end.utcoffset() == end.astimezone(schedule.zone).utcoffset()

        for _ in range(20):
            place = chance.randrange(1, len(times))
            between = times[place - 1] + (times[place] - times[place - 1]) * chance.random()
            assert next_run(schedule, between) == times[place]
            assert next_run(schedule, times[place] - timedelta(microseconds=1)) == times[place]
            assert next_run(schedule, times[place - 1]) == times[place]


@pytest.mark.parametrize("misfire", MISFIRES)
def test_missed_runs_are_due_as_the_misfire_rule_says(misfire: str) -> None:
    chance = random.Random(misfire)
    schedule = Schedule("daily", 2, 30, timezone="Europe/Berlin")
    runs = expected(schedule)
    first, last = runs[0].scheduled_for, runs[-30].scheduled_for
    for _ in range(300):
        since = first + (last - first) * chance.random()
        now = since + chance.choice([timedelta(minutes=5), DAY, 10 * DAY]) * chance.random()
        if chance.random() < 0.5:
            now = next_run(schedule, now) + chance.choice([timedelta(0), GRACE, 2 * GRACE])
        come = [run for run in runs if since < run.scheduled_for <= now]
        match misfire:
            case "last":
                come = come[-1:]
            case "skip":
                come = [run for run in come[-1:] if now - run.scheduled_for <= GRACE]
        assert due(schedule, since, now, misfire) == come
        assert due(schedule, since, now, misfire, limit=2) == come[:2]


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("schedule", "after", "at", "window", "hours"),
    [
        # 02:30 is skipped on 9 March and shown twice on 2 November; the days have 23 and 25 hours.
        (Schedule("daily", 2, 30, timezone="America/New_York"), "2025-03-09", "2025-03-09T07:00", "2025-03-08", 24),
        (Schedule("daily", 3, 30, timezone="America/New_York"), "2025-03-10", "2025-03-10T07:30", "2025-03-09", 23),
        (Schedule("daily", 1, 30, timezone="America/New_York"), "2025-11-02", "2025-11-02T05:30", "2025-11-01", 24),
        (Schedule("daily", 1, 30, timezone="America/New_York"), "2025-11-02T05:30", "2025-11-03T06:30", "2025-11-02", 25),
        (Schedule("daily", 2, 15, timezone="Australia/Lord_Howe"), "2025-10-04T12:00", "2025-10-04T15:30", "2025-10-04", 24),
        (Schedule("daily", 6, 0, timezone="Australia/Lord_Howe"), "2025-10-05T12:00", "2025-10-05T19:00", "2025-10-05", 23.5),
        # There is no midnight on 25 April.
        (Schedule("daily", 0, 0, timezone="Africa/Cairo"), "2025-04-24T12:00", "2025-04-24T22:00", "2025-04-24", 24),
        (Schedule("daily", 0, 0, timezone="Africa/Cairo"), "2025-04-25T12:00", "2025-04-25T21:00", "2025-04-25", 23),
        (Schedule("daily", 6, timezone="America/Sao_Paulo"), "2017-10-16", "2017-10-16T08:00", "2017-10-15", 23),
        # 30 December 2011, a Friday, was left out.
        (Schedule("daily", 6, timezone="Pacific/Apia"), "2011-12-29T16:00", "2011-12-30T16:00", "2011-12-29", 24),
        (Schedule("weekly", 6, weekday=5, timezone="Pacific/Apia"), "2011-12-29T16:00", "2011-12-30T10:00", "2011-12-19", 168),
        (Schedule("monthly", 6, day_of_month=30, timezone="Pacific/Apia"), "2011-12-29T16:00", "2011-12-30T10:00", "2011-11-01", 720),
        (Schedule("monthly", 6, timezone="Pacific/Apia"), "2011-12-30T16:00", "2011-12-31T16:00", "2011-12-01", 720),
        # The last day of every month.
        (Schedule("monthly", day_of_month=31), "2024-02-01", "2024-02-29", "2024-01-01", 744),
        (Schedule("monthly", day_of_month=31), "2024-03-31", "2024-04-30", "2024-03-01", 744),
        (Schedule("monthly", day_of_month=29), "2025-02-01", "2025-02-28", "2025-01-01", 744),
        # Rules that no table lists.
        (Schedule("daily", 2, 30, timezone="Europe/Berlin"), "2061-03-27", "2061-03-27T01:00", "2061-03-26", 24),
    ],
)  # fmt: skip
def test_days_that_people_know(schedule: Schedule, after: str, at: str, window: str, hours: float) -> None:
    assert next_run(schedule, utc(after)) == utc(at)
    (run,) = due(schedule, utc(after), utc(at), "all")
    assert (run.scheduled_for, run.window.name) == (utc(at), window)
    assert run.window.end - run.window.start == timedelta(hours=hours)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"cadence": "dayly"},
            "cadence: 'dayly' is not one of hourly, daily, weekly, monthly, cron. Did you mean daily?",
        ),
        ({"hour": 24}, "hour: 24 is no whole number from 0 to 23."),
        ({"hour": 3.5}, "hour: 3.5 is no whole number from 0 to 23."),
        ({"hour": True}, "hour: True is no whole number from 0 to 23."),
        ({"minute": "5"}, "minute: '5' is no whole number from 0 to 59."),
        ({"weekday": 9}, "weekday: 9 is no whole number from 1 to 7."),
        ({"day_of_month": 0}, "day_of_month: 0 is no whole number from 1 to 31."),
        (
            {"timezone": "europe/berlin"},
            "timezone: 'europe/berlin' is not an IANA time zone; did you mean Europe/Berlin?",
        ),
    ],
)
def test_a_wrong_field_of_a_schedule_is_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ScheduleError) as error:
        Schedule(**{"cadence": "daily", **fields})
    assert str(error.value) == message


@pytest.mark.parametrize(
    "name", ["", "America", "../etc/passwd", "\x00", "x" * 300, None, 5, b"UTC", "UTC\n"]
)
def test_an_unknown_time_zone_is_refused(name: Any) -> None:
    with pytest.raises(ScheduleError, match=r"^timezone: .* is not an IANA time zone"):
        Schedule("daily", timezone=name)
