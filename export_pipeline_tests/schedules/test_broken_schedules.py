"""A schedule that cannot be run is told before its first run, once; corrected, it goes on."""

from datetime import timedelta

import pytest
import sqlalchemy as sa

from export_pipeline.jobs import Ledger, RefusedError, Status
from export_pipeline.schedules.due_requests import claim_due, datasets_due
from export_pipeline.schedules.due_times import check_choice
from export_pipeline.schedules.editing import get_schedule, pause_schedule, resume_schedule
from export_pipeline.schedules.scheduled_export import ScheduledExport
from export_pipeline_tests.jobs.database import Database
from export_pipeline_tests.schedules.scheduling import DAY, MINUTE, START, insert

HOUR = timedelta(hours=1)


def known(schedule: ScheduledExport) -> None:
    check_choice("dataset", schedule.dataset, ["takeoff", "records"])


def test_a_broken_schedule_is_reported_at_the_first_look_and_once(
    database: Database, engine: sa.Engine, ledger: Ledger
) -> None:
    broken = insert(
        database, dataset="takeof", scope="7", owner="ann@example.org", recipients='["ben@example.org"]'
    )
    right = insert(database)
    assert claim_due(engine, START + MINUTE, 10, known) == []
    schedule = get_schedule(engine, broken)
    assert (schedule.active, schedule.next_run) == (False, None)
    assert schedule.problem == "dataset: 'takeof' is not one of takeoff, records. Did you mean takeoff?"
    (job,) = ledger.find()
    assert (job.status, job.error_code, job.attempt) == (Status.FAILED, "schedule_broken", 1)
    assert (job.schedule_id, job.scope, job.requested_by) == (broken, "7", "ann@example.org")
    assert job.recipients == ["ben@example.org"]
    assert job.error_message == (
        f"Schedule {broken} (daily) cannot be run and was set inactive: {schedule.problem} "
        "Correct it, and it goes on by itself."
    )
    assert [event.kind for event in ledger.events(job.id)] == ["requested", "failed"]
    assert get_schedule(engine, right).active

    for minutes in range(2, 5):
        assert claim_due(engine, START + minutes * MINUTE, 10, known) == []
        database.run("UPDATE scheduled_exports SET active = ? WHERE id = ?", True, broken)
    assert len(ledger.find()) == 1  # though somebody sets it active again and again
    claim_due(engine, START + DAY + HOUR, 10, known)
    assert [job.status for job in ledger.find()].count(Status.FAILED) == 2  # told once more the next day


def test_corrected_with_sql_it_goes_on(database: Database, engine: sa.Engine) -> None:
    broken = insert(database, dataset="takeof")
    claim_due(engine, START + MINUTE, 10, known)
    database.run("UPDATE scheduled_exports SET dataset = 'rekords' WHERE id = ?", broken)
    claim_due(engine, START + 2 * MINUTE, 10, known)
    assert "'rekords' is not one of" in str(get_schedule(engine, broken).problem)
    database.run("UPDATE scheduled_exports SET dataset = 'records' WHERE id = ?", broken)
    now = START + HOUR
    assert claim_due(engine, now, 10, known) == []
    schedule = get_schedule(engine, broken)
    assert (schedule.active, schedule.problem, schedule.since) == (True, None, now)
    assert schedule.next_run == START + DAY
    (ask,) = claim_due(engine, START + DAY, 10, known)
    assert (ask.schedule_id, ask.dataset) == (broken, "records")


def test_a_dataset_that_comes_back_needs_nobody(database: Database, engine: sa.Engine) -> None:
    """The daemon may have loaded its datasets before the schedule's was written."""
    new = insert(database, dataset="new")
    claim_due(engine, START + MINUTE, 10, known)
    assert not get_schedule(engine, new).active
    claim_due(engine, START + 2 * MINUTE, 10, lambda schedule: None)
    assert get_schedule(engine, new).active


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("dataset", "nothing"),
        ("scope", "b"),
        ("filters", '{"a": {"equals": 1}}'),
        ("columns", '["x"]'),
        ("recipients", '["ann@example.org"]'),
    ],
)
def test_a_row_that_was_edited_is_looked_at_before_it_is_due(
    database: Database, engine: sa.Engine, column: str, value: str
) -> None:
    edited = insert(database)
    claim_due(engine, START + MINUTE, 10, known)
    assert datasets_due(engine, START + 2 * MINUTE) == []
    database.run(f"UPDATE scheduled_exports SET {column} = ? WHERE id = ?", value, edited)
    assert len(datasets_due(engine, START + 2 * MINUTE)) == 1
    assert claim_due(engine, START + 2 * MINUTE, 10) == []
    assert get_schedule(engine, edited).next_run == START + DAY
    assert len(claim_due(engine, START + DAY, 10)) == 1


def test_a_broken_schedule_can_be_paused_and_stays_paused(database: Database, engine: sa.Engine) -> None:
    broken = insert(database, dataset="takeof")
    claim_due(engine, START + MINUTE, 10, known)
    assert pause_schedule(engine, broken).problem is None
    database.run("UPDATE scheduled_exports SET dataset = 'takeoff'")
    claim_due(engine, START + 2 * MINUTE, 10, known)
    assert not get_schedule(engine, broken).active
    assert resume_schedule(engine, broken, START + 3 * MINUTE, check=known).active


def test_the_notice_of_a_broken_schedule_cannot_become_an_export(
    database: Database, engine: sa.Engine, ledger: Ledger
) -> None:
    insert(database, timezone="Europe/Berlim", recipients='["ann"]')
    claim_due(engine, START + MINUTE, 10, known)
    (job,) = ledger.find()
    cure = f"nothing to retry: `export-pipeline schedules change {job.schedule_id} …` corrects it"
    with pytest.raises(RefusedError, match=cure):
        ledger.retry(job.id)
    assert ledger.get(job.id) == job
