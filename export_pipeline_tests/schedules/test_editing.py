from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from export_pipeline.jobs import OPERATOR, Ledger, Viewer
from export_pipeline.jobs.database import open_engine
from export_pipeline.jobs.errors import LedgerError, ScheduleError, UnknownScheduleError
from export_pipeline.schedules.due_requests import claim_due
from export_pipeline.schedules.due_times import check_choice
from export_pipeline.schedules.editing import (
    create_schedule,
    delete_schedule,
    get_schedule,
    list_schedules,
    pause_schedule,
    resume_schedule,
    update_schedule,
)
from export_pipeline.schedules.scheduled_export import ScheduledExport
from export_pipeline_tests.jobs.database import Database

NOW = datetime(2025, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
DAILY = {"dataset": "takeoff", "format": "csv", "cadence": "daily"}
OFFERED = {"takeoff": ["csv", "json"], "records": ["csv"]}


def offered(schedule: ScheduledExport) -> None:
    check_choice("dataset", schedule.dataset, OFFERED)
    check_choice("format", schedule.format, OFFERED[schedule.dataset])


def test_the_life_of_a_schedule(engine: sa.Engine, ledger: Ledger) -> None:
    chosen = {
        **DAILY, "hour": 6, "timezone": "Europe/Berlin", "scope": "7", "filters": {"a": {"in": ["漢"]}}, "columns": ["id"],
        "options": {"bom": True}, "recipients": ["ann@example.org"], "misfire": "all", "empty": "skip", "owner": "ann",
    }  # fmt: skip
    made = create_schedule(engine, chosen, NOW, check=offered)
    assert get_schedule(engine, made.id) == made
    assert {name: getattr(made, name) for name in chosen} == chosen
    assert (made.active, made.last_run, made.next_run) == (True, None, datetime(2025, 3, 2, 5, tzinfo=UTC))

    (ask,) = claim_due(engine, NOW + DAY, 10)
    changed = update_schedule(engine, made.id, {"hour": 7, "recipients": []}, check=offered)
    assert get_schedule(engine, made.id) == changed
    assert changed.next_run == datetime(2025, 3, 3, 6, tzinfo=UTC)
    assert (changed.last_run, changed.recipients) == (ask.scheduled_for, [])

    paused = pause_schedule(engine, made.id)
    assert (paused.active, paused.next_run) == (False, None)
    assert pause_schedule(engine, made.id) == paused == get_schedule(engine, made.id)
    assert claim_due(engine, NOW + 9 * DAY, 10) == []
    resumed = resume_schedule(engine, made.id, NOW + 9 * DAY)
    assert resumed.next_run == datetime(2025, 3, 11, 6, tzinfo=UTC)
    assert resume_schedule(engine, made.id, NOW + 99 * DAY) == resumed == get_schedule(engine, made.id)

    assert delete_schedule(engine, made.id) == resumed
    assert list_schedules(engine) == []
    job = ledger.get(ask.job_id)
    assert (job.schedule_id, job.window_key, job.requested_by) == (made.id, "daily/2025-03-01", "ann")
    for act in (get_schedule, pause_schedule, delete_schedule):
        with pytest.raises(UnknownScheduleError, match=f"There is no scheduled export {made.id}"):
            act(engine, made.id)


def test_an_edit_that_moves_no_run_leaves_it_known(engine: sa.Engine) -> None:
    made = create_schedule(engine, DAILY, NOW)
    for changes in ({"weekday": 5}, {"weekday": 5}, {"owner": "bob"}, {"cadence": "daily"}):
        update_schedule(engine, made.id, changes)
    pause_schedule(engine, made.id)
    resumed = resume_schedule(engine, made.id, NOW)
    assert resumed == get_schedule(engine, made.id) == replace(made, weekday=5, owner="bob")
    assert (made.since, made.next_run) == (NOW, NOW + DAY / 2)


def test_a_corrected_schedule_is_resumed(engine: sa.Engine, database: Database) -> None:
    made = create_schedule(engine, DAILY, NOW)
    database.run("UPDATE scheduled_exports SET timezone = 'Europe/Nowhere'")
    assert claim_due(engine, NOW, 10) == []
    broken = get_schedule(engine, made.id)
    assert (broken.active, broken.next_run) == (False, None)
    assert str(broken.problem).startswith("timezone: 'Europe/Nowhere' is not an IANA time zone")
    with pytest.raises(ScheduleError, match=r"^timezone: 'Europe/Nowhere'"):
        resume_schedule(engine, made.id, NOW)
    update_schedule(engine, made.id, {"timezone": "Europe/Madrid"})
    mended = resume_schedule(engine, made.id, NOW)
    assert (mended.problem, mended.next_run) == (None, datetime(2025, 3, 1, 23, tzinfo=UTC))


def test_the_order_of_a_list(engine: sa.Engine) -> None:
    hours = {hour: create_schedule(engine, {**DAILY, "hour": hour}, NOW).id for hour in (15, 3, 21, 18)}
    pause_schedule(engine, hours[18])
    update_schedule(engine, hours[3], {"dataset": "records"})
    assert [schedule.hour for schedule in list_schedules(engine)] == [15, 21, 3, 18]
    assert [schedule.hour for schedule in list_schedules(engine, active=True, dataset="takeoff")] == [15, 21]
    assert [schedule.hour for schedule in list_schedules(engine, active=False)] == [18]


def test_schedules_of_others_do_not_exist(engine: sa.Engine) -> None:
    mine = create_schedule(engine, {**DAILY, "scope": "a", "owner": "ann"}, NOW)
    other = create_schedule(engine, {**DAILY, "scope": "b", "owner": "bob"}, NOW)
    common = create_schedule(engine, DAILY, NOW)

    def seen(viewer: Viewer) -> set[str]:
        return {schedule.id for schedule in list_schedules(engine, viewer)}

    assert seen(OPERATOR) == {mine.id, other.id, common.id}
    ann, of_a, none = Viewer(requested_by="ann"), Viewer(scopes=["a", None]), Viewer(scopes=[])
    assert (seen(ann), seen(of_a), seen(none)) == ({mine.id}, {mine.id, common.id}, set())
    for viewer in (ann, of_a, none):
        for act in (
            lambda viewer: get_schedule(engine, other.id, viewer),
            lambda viewer: update_schedule(engine, other.id, {"hour": 1}, viewer),
            lambda viewer: pause_schedule(engine, other.id, viewer),
            lambda viewer: resume_schedule(engine, other.id, NOW, viewer),
            lambda viewer: delete_schedule(engine, other.id, viewer),
        ):
            with pytest.raises(UnknownScheduleError):
                act(viewer)
    assert get_schedule(engine, other.id) == other
    with pytest.raises(ScheduleError, match=r"^scope: 'b' is not one of yours; they are a\.$"):
        update_schedule(engine, mine.id, {"scope": "b"}, Viewer(scopes=["a"]))
    with pytest.raises(ScheduleError, match=r"^scope: None is not one of yours"):
        create_schedule(engine, DAILY, NOW, Viewer(scopes=["a"]))
    with pytest.raises(ScheduleError, match=r"^owner: 'bob' is not you"):
        create_schedule(engine, {**DAILY, "owner": "bob"}, NOW, ann)
    assert create_schedule(engine, DAILY, NOW, ann).owner == "ann"


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"dataset": None}, "dataset: it is missing."),
        ({"dataset": "takeof"}, "dataset: 'takeof' is not one of takeoff, records. Did you mean takeoff?"),
        ({"dataset": "records", "format": "json"}, "format: there is no 'json', only csv."),
        ({"cadence": "yearly"}, "cadence: 'yearly' is not one of hourly, daily, weekly, monthly, cron."),
        ({"cadence": "cron"}, "cron: it is missing; write a line of five fields, e.g. `0 7 * * 1-5`."),
        ({"cron": "0 7 * * *"}, "cron: a daily schedule has no cron line; leave it out."),
        ({"cadence": "cron", "cron": "0 7 * *"}, "cron: '0 7 * *' has not the five fields minute, hour,"),
        ({"cadence": "cron", "cron": "0 25 * * *"}, "cron: '0 25 * * *' is not a cron line: Bad hour."),
        ({"cadence": "cron", "cron": "0 0 30 2 *"}, "cron: '0 0 30 2 *' is not a cron line: Bad day-of-month."),
        ({"cadence": "cron", "cron": "58,1 * * * *"}, "cron: '58,1 * * * *' runs again after 3 minutes; at least 5 are needed."),
        ({"cadence": "cron", "cron": "0 7 * * 1" + ",1" * 100}, "cron: it is longer than 200 characters."),
        ({"export_window": "all"}, "export_window: 'all' is not one of previous, none."),
        ({"additional_formats": "csv"}, "additional_formats: 'csv' is not a list."),
        ({"hour": 24}, "hour: 24 is no whole number from 0 to 23."),
        ({"timezone": "europe/berlin"}, "timezone: 'europe/berlin' is not an IANA time zone; did you mean Europe/Berlin?"),
        ({"misfire": "lst"}, "misfire: 'lst' is not one of skip, last, all. Did you mean last?"),
        ({"empty": None}, "empty: None is not one of send, skip, say."),
        ({"filters": ["a"]}, "filters: ['a'] is not an object, such as {}."),
        ({"options": {"window": {}}}, "options: window is not one to choose; the schedule sets it itself."),
        ({"columns": "id"}, "columns: 'id' is not a list."),
        ({"columns": [1]}, "columns: 1 is not a text."),
        ({"scope": "a\x00"}, "scope: it holds a NUL or a broken character; leave it out."),
        ({"filters": {"a": ["\ud800"]}}, "filters: it holds a NUL or a broken character; leave it out."),
        ({"hours": 1}, "hours: there is no such field; there are dataset, format, additional_formats, scope, each_scope, cadence, hour, minute, weekday, day_of_month, timezone, cron, export_window, filters, columns, options, recipients, misfire, empty, owner. Did you mean hour?"),
        ({"next_run": NOW}, "next_run: there is no such field; there are dataset, "),
    ],
)  # fmt: skip
def test_a_wrong_change_is_named(sqlite_database: Database, chosen: dict[str, Any], message: str) -> None:
    engine = open_engine(sqlite_database.url)
    with pytest.raises(ScheduleError) as error:
        create_schedule(engine, {**DAILY, **chosen}, NOW, check=offered)
    assert str(error.value).startswith(message)
    made = create_schedule(engine, DAILY, NOW)
    with pytest.raises(LedgerError):
        update_schedule(engine, made.id, chosen, check=offered)
    assert list_schedules(engine) == [made]


@pytest.mark.parametrize("schedule_id", ["", "x", "00000000-0000-4000-8000-000000000000", "\x00"])
def test_an_invalid_id_is_an_unknown_schedule(engine: sa.Engine, schedule_id: str) -> None:
    with pytest.raises(UnknownScheduleError):
        get_schedule(engine, schedule_id)


def test_a_cron_line_goes_with_its_cadence(sqlite_database: Database) -> None:
    engine = open_engine(sqlite_database.url)
    made = create_schedule(engine, {**DAILY, "cadence": "cron", "cron": "0 7 * * 1-5"}, NOW)
    changed = update_schedule(engine, made.id, {"cadence": "weekly"})
    assert (changed.cadence, changed.cron) == ("weekly", None)
    with pytest.raises(ScheduleError, match="cron: a weekly schedule has no cron line"):
        update_schedule(engine, made.id, {"cadence": "weekly", "cron": "0 7 * * *"})
    engine.dispose()
