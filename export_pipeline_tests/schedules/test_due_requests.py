import random
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
import sqlalchemy as sa

from export_pipeline.jobs import Ledger, Status, Viewer
from export_pipeline.jobs.errors import UnknownScheduleError
from export_pipeline.schedules.due_requests import claim_due, run_now
from export_pipeline.schedules.due_times import GRACE, Due, Schedule
from export_pipeline.schedules.editing import get_schedule, list_schedules, resume_schedule
from export_pipeline.schedules.periods import window_of
from export_pipeline.schedules.run_requests import ScheduledRequest
from export_pipeline.schedules.scheduled_export import ScheduledExport
from export_pipeline_tests.jobs.clocks import expected
from export_pipeline_tests.jobs.database import Database
from export_pipeline_tests.schedules.scheduling import DAY, MINUTE, START, asked, insert


def test_a_row_becomes_a_request(database: Database, engine: sa.Engine, ledger: Ledger) -> None:
    schedule_id = insert(
        database,
        cadence="monthly",
        hour=6,
        day_of_month=31,
        timezone="Europe/Berlin",
        format="excel",
        scope="7",
        filters='{"unit": {"in": ["LF", "漢字"]}}',
        columns='["id", "name"]',
        options='{"bom": true}',
        recipients='["ann@example.org"]',
        empty="say",
        owner="ann",
    )
    assert claim_due(engine, START, 10) == []
    at = datetime(2025, 3, 31, 4, tzinfo=UTC)
    assert get_schedule(engine, schedule_id).next_run == at
    assert claim_due(engine, at - MINUTE, 10) == []

    (ask,) = claim_due(engine, at, 10)
    assert claim_due(engine, at, 10) == []
    job = ledger.get(ask.job_id)
    assert (job.status, job.dataset, job.format, job.scope) == (Status.PENDING, "takeoff", "excel", "7")
    assert (job.schedule_id, job.window_key) == (schedule_id, "monthly/2025-02-01")
    assert job.filters == {"unit": {"in": ["LF", "漢字"]}}
    assert (job.columns, job.recipients, job.requested_by) == (["id", "name"], ["ann@example.org"], "ann")
    assert job.options == {
        "bom": True,
        "empty": "say",
        "window": {
            "cadence": "monthly",
            "name": "2025-02-01",
            "start": "2025-02-01T00:00:00+01:00",
            "end": "2025-03-01T00:00:00+01:00",
            "timezone": "Europe/Berlin",
        },
    }
    assert window_of(job.options) == ask.window
    assert window_of({"bom": True}) is None
    assert ask == ScheduledRequest(job.id, schedule_id, "takeoff", "excel", "7", at, ask.window)
    assert ledger.claim(10)[0].id == job.id
    schedule = get_schedule(engine, schedule_id)
    assert (schedule.last_run, schedule.next_run) == (at, datetime(2025, 4, 30, 4, tzinfo=UTC))


def test_a_row_that_was_just_inserted_waits_for_its_first_run(database: Database, engine: sa.Engine) -> None:
    database.run("INSERT INTO scheduled_exports (dataset, format, cadence) VALUES ('t', 'csv', 'daily')")
    now = datetime.now(UTC)
    assert claim_due(engine, now, 10) == []
    (schedule,) = list_schedules(engine)
    assert schedule.next_run is not None
    assert now < schedule.next_run <= now + DAY
    # The daemon may be down meanwhile: it counts from the moment of the insert.
    database.run("UPDATE scheduled_exports SET next_run = NULL")
    assert len(claim_due(engine, schedule.next_run + MINUTE, 10)) == 1


def test_many_new_rows_do_not_hide_one_that_is_due(database: Database, engine: sa.Engine) -> None:
    due = insert(database)
    claim_due(engine, START, 10)
    for _ in range(20):
        insert(database, since=START + DAY)
    (ask,) = claim_due(engine, START + DAY, 3)  # in parts of three rows
    assert ask.schedule_id == due


def test_a_backlog_is_asked_for_in_parts_oldest_first(database: Database, engine: sa.Engine) -> None:
    long = insert(database, misfire="all")
    insert(database, since=START + 8 * DAY)
    assert claim_due(engine, START, 10) == []
    now = START + 10 * DAY
    parts = [claim_due(engine, now, 4) for _ in range(4)]
    assert [len(part) for part in parts] == [4, 4, 3, 0]
    names = [ask.window.name for part in parts for ask in part if ask.schedule_id == long]
    assert names == [f"2025-03-{day:02}" for day in range(1, 11)]
    assert sorted(Counter(schedule for schedule, _ in asked(database)).values()) == [1, 10]
    assert claim_due(engine, now, 0) == []


A_YEAR = {
    "America/New_York": {"cadence": "weekly", "hour": 2, "minute": 30, "weekday": 7},
    "Australia/Lord_Howe": {"cadence": "daily", "hour": 2, "minute": 15},
    "Europe/Berlin": {"cadence": "weekly", "hour": 2, "minute": 30, "weekday": 7},
    "Asia/Kathmandu": {"cadence": "monthly", "hour": 23, "minute": 45, "day_of_month": 31},
    "Asia/Kolkata": {"cadence": "weekly", "hour": 0},
}


@pytest.mark.slow
def test_a_year_with_downtimes(database: Database, engine: sa.Engine) -> None:
    """The clock goes from run to run, and now and then jumps, as if nobody had looked for up to three weeks."""
    chance = random.Random(7)
    start, end = datetime(2025, 1, 10, tzinfo=UTC), datetime(2025, 12, 31, tzinfo=UTC)
    made = {
        insert(database, since=start, timezone=zone, misfire=misfire, **fields): (zone, misfire)
        for zone, fields in A_YEAR.items()
        for misfire in ("skip", "last", "all")
    }
    looks = [start]
    claimed: dict[str, list[Due]] = {key: [] for key in made}
    claim_due(engine, start, 100)
    while looks[-1] < end:
        ((upcoming,),) = database.run("SELECT min(next_run) FROM scheduled_exports")
        upcoming = datetime.fromisoformat(str(upcoming))
        late = chance.choice([timedelta(0), timedelta(seconds=1), GRACE])
        if chance.random() < 0.05:
            late = 21 * DAY * chance.random()
        looks.append(max(upcoming, min(upcoming + late, end)))  # no farther than the second opinion goes
        while asks := claim_due(engine, looks[-1], 50):
            for ask in asks:
                claimed[ask.schedule_id].append(Due(ask.scheduled_for, ask.window, ask.window.name))
    assert len(looks) > 250
    for key, (zone, misfire) in made.items():
        expected_windows, runs = [], expected(Schedule(**A_YEAR[zone], timezone=zone))
        for since, now in pairwise(looks):
            come = [run for run in runs if since < run.scheduled_for <= now]
            if misfire == "skip":
                come = [run for run in come[-1:] if now - run.scheduled_for <= GRACE]
            expected_windows += come[-1:] if misfire == "last" else come
        assert claimed[key] == expected_windows, (zone, misfire)
        schedule = get_schedule(engine, key)
        assert schedule.last_run == expected_windows[-1].scheduled_for
        following = [run.scheduled_for for run in runs if run.scheduled_for > looks[-1]]
        assert schedule.next_run == following[0]
    assert asked(database) == Counter(
        (key, f"{A_YEAR[made[key][0]]['cadence']}/{run.window.name}") for key in made for run in claimed[key]
    )


def test_the_last_run_again_by_hand(database: Database, engine: sa.Engine) -> None:
    schedule_id = insert(database, cadence="weekly", weekday=2, hour=6, active=False)
    before = get_schedule(engine, schedule_id)
    wednesday = datetime(2025, 3, 5, tzinfo=UTC)
    job_id, is_new = run_now(engine, schedule_id, wednesday)
    assert is_new
    assert asked(database) == Counter([(schedule_id, "weekly/2025-02-24")])
    assert run_now(engine, schedule_id, wednesday + 5 * DAY) == (job_id, False)
    assert get_schedule(engine, schedule_id) == before
    with pytest.raises(UnknownScheduleError):
        run_now(engine, schedule_id, wednesday, Viewer(scopes=["b"]))
    # Its own run finds the window asked for.
    database.run("UPDATE scheduled_exports SET active = true, since = ?", START.isoformat())
    assert claim_due(engine, wednesday, 10) == []


def test_a_paused_schedule_collects_no_windows(database: Database, engine: sa.Engine) -> None:
    schedule_id = insert(database, misfire="all")
    claim_due(engine, START, 10)
    database.run("UPDATE scheduled_exports SET active = false")
    assert claim_due(engine, START + 5 * DAY, 10) == []
    schedule = resume_schedule(engine, schedule_id, START + 5 * DAY + MINUTE)
    assert schedule.next_run == START + 6 * DAY
    assert claim_due(engine, START + 5 * DAY + MINUTE, 10) == []
    (ask,) = claim_due(engine, START + 6 * DAY, 10)
    assert ask.window.name == "2025-03-06"


def test_a_schedule_resumed_with_sql_begins_at_that_time(database: Database, engine: sa.Engine) -> None:
    insert(database, misfire="all", active=False)
    database.run("UPDATE scheduled_exports SET problem = 'old', next_run = '2025-03-02 00:00:00+00:00'")
    database.run("UPDATE scheduled_exports SET active = true")
    (schedule,) = list_schedules(engine)
    assert abs(schedule.since - datetime.now(UTC)) < MINUTE
    assert (schedule.problem, schedule.next_run) == (None, None)
    assert claim_due(engine, datetime.now(UTC), 10) == []
    database.run("UPDATE scheduled_exports SET owner = 'ann', active = true")
    assert list_schedules(engine)[0].next_run is not None


def test_an_edit_counts_at_once_and_repeats_no_window(database: Database, engine: sa.Engine) -> None:
    schedule_id = insert(database, hour=8)
    (first,) = claim_due(engine, START + timedelta(hours=8), 10)
    assert first.window.name == "2025-02-28"

    database.run("UPDATE scheduled_exports SET hour = 10")  # later on the same day: that window was asked for
    assert claim_due(engine, START + timedelta(hours=9), 10) == []
    assert get_schedule(engine, schedule_id).next_run == START + timedelta(hours=10)
    assert claim_due(engine, START + timedelta(hours=10), 10) == []
    assert get_schedule(engine, schedule_id).last_run == START + timedelta(hours=8)

    database.run("UPDATE scheduled_exports SET hour = 6")  # a time that tomorrow has passed when it is edited
    (second,) = claim_due(engine, START + DAY + timedelta(hours=7), 10)
    assert (second.window.name, second.scheduled_for) == ("2025-03-01", START + DAY + timedelta(hours=6))

    database.run("UPDATE scheduled_exports SET timezone = 'Asia/Tokyo'")  # 06:00 there is 21:00 here
    assert claim_due(engine, START + DAY + timedelta(hours=8), 10) == []
    (third,) = claim_due(engine, START + DAY + timedelta(hours=21), 10)
    assert third.window.start.isoformat() == "2025-03-02T00:00:00+09:00"

    database.run("UPDATE scheduled_exports SET timezone = 'America/New_York'")  # 2 March ends once more
    assert claim_due(engine, START + 2 * DAY + timedelta(hours=12), 10) == []
    database.run("UPDATE scheduled_exports SET cadence = 'weekly', hour = 0, timezone = 'UTC'")
    (week,) = claim_due(engine, START + 9 * DAY, 10)
    assert (week.window.name, week.window.end - week.window.start) == ("2025-03-03", 7 * DAY)
    assert max(asked(database).values()) == 1


def test_a_run_that_was_postponed_by_hand(database: Database, engine: sa.Engine) -> None:
    insert(database)
    claim_due(engine, START, 10)
    database.run("UPDATE scheduled_exports SET next_run = ?", (START + 3 * DAY).isoformat())
    assert claim_due(engine, START + 2 * DAY, 10) == []
    (ask,) = claim_due(engine, START + 3 * DAY, 10)
    assert ask.window.name == "2025-03-03"


def test_schedules_that_a_call_has_no_time_for_are_left_to_the_next(
    database: Database, engine: sa.Engine
) -> None:
    for _ in range(4):
        insert(database)
    broken = insert(database)
    database.run("UPDATE scheduled_exports SET active = ?, problem = 'x' WHERE id = ?", False, broken)
    checked: list[str] = []
    until = time.monotonic() + 0.2

    def slow(schedule: ScheduledExport) -> None:
        checked.append(schedule.id)
        time.sleep(max(0.0, until + 0.01 - time.monotonic()))

    assert len(claim_due(engine, START + DAY, 10, slow, until)) == 0  # the time is spent on what was broken
    assert len(checked) == 1
    until = time.monotonic() + 0.2
    assert len(claim_due(engine, START + DAY, 10, slow, until)) == 1
    assert len(claim_due(engine, START + DAY, 10)) == 3
    assert len(checked) == 2
