"""Schedules of people and applications, as Dagster's UI shows and starts them."""

from collections.abc import Mapping
from functools import partial

import dagster as dg
import sqlalchemy as sa

from export_pipeline.jobs import Attempt, Ledger
from export_pipeline.orchestration import scheduled_exports
from export_pipeline.orchestration.scheduled_exports import run_schedule_now_job
from export_pipeline.schedules.due_requests import claim_due
from export_pipeline_tests.jobs.database import Database
from export_pipeline_tests.jobs.fixtures import (  # noqa: F401
    database,
    engine,
    ledger,
    migrated_postgres_url,
    migrated_sqlite_file,
    postgres_database,
    sqlite_database,
    sqlite_jobs_url,
)
from export_pipeline_tests.schedules.scheduling import DAY, START, insert

KEY = dg.AssetKey("scheduled_exports")
show_schedules = partial(scheduled_exports.show_schedules, ui_url="https://dagster.example.org")


class LedgerAddress:
    def __init__(self, url: str) -> None:
        self.url = url


def shown(instance: dg.DagsterInstance) -> Mapping[str, dg.MetadataValue]:
    """The metadata of the newest observation, as the UI shows them."""
    (record,) = instance.fetch_observations(KEY, limit=1).records
    observation = record.event_log_entry.asset_observation
    assert observation
    return observation.metadata


def listed(instance: dg.DagsterInstance) -> list[dict[str, object]]:
    """The rows of the newest list."""
    table = shown(instance)["schedules"]
    assert isinstance(table, dg.TableMetadataValue)
    return [dict(row.data) for row in table.records]


def test_the_list_is_shown_again_only_when_it_has_changed(
    database: Database,  # noqa: F811
    engine: sa.Engine,  # noqa: F811
) -> None:
    instance = dg.DagsterInstance.ephemeral()
    cursor = show_schedules(instance, engine, None, 0)
    assert instance.fetch_observations(KEY, limit=5).records == []  # nothing to show yet
    insert(database, cadence="weekly", weekday=1, hour=7, recipients='["ann@example.org"]', scope="a")
    assert show_schedules(instance, engine, cursor, 59) is None
    cursor = show_schedules(instance, engine, cursor, 60)
    (row,) = listed(instance)
    assert (row["dataset"], row["when"], row["state"]) == ("takeoff", "weekly monday 07:00 UTC", "on")
    assert row["recipients"] == "1"
    assert "ann@" not in str(row)
    cursor = show_schedules(instance, engine, cursor, 120)
    assert len(instance.fetch_observations(KEY, limit=5).records) == 1

    claim_due(engine, START + 3 * DAY, 10)
    cursor = show_schedules(instance, engine, cursor, 180)
    (row,) = listed(instance)
    assert (row["last run"], row["next run"]) == ("2025-03-03 07:00 UTC", "2025-03-10 07:00 UTC")
    assert row["result"] == "1 pending"

    database.run(
        "UPDATE scheduled_exports SET active = false, problem = ?", "recipients: 'x@' is no address."
    )
    show_schedules(instance, engine, cursor, 120)  # a clock that was set back
    (row,) = listed(instance)
    assert row["state"] == "cannot be run: recipients"


def test_the_last_result_of_a_schedule_is_a_link_to_its_run(
    database: Database,  # noqa: F811
    engine: sa.Engine,  # noqa: F811
    ledger: Ledger,  # noqa: F811
) -> None:
    instance = dg.DagsterInstance.ephemeral()
    instance.add_dynamic_partitions("takeoff_scopes", ["Corner shop (a)", "b"])
    formats = '["json", "excel"]'
    insert(database, cadence="weekly", weekday=1, hour=7, additional_formats=formats, scope="a")
    claim_due(engine, START + 3 * DAY, 10)
    show_schedules(instance, engine, None, 60)
    assert "runs" not in shown(instance)  # nothing has been started
    runs = [Attempt(job.id, job.attempt, f"r-{number}") for number, job in enumerate(ledger.find())]
    for run in runs:
        ledger.started(run)
    ledger.failed(runs[1], "source_error", "There is no table.")
    show_schedules(instance, engine, None, 60)
    assert shown(instance)["runs"].value == (
        r"- [takeoff\, Corner shop \(a\)\, weekly monday 07\:00 UTC\: 1 failed\, 2 processing](https://dagster.example.org/runs/r-1)"
    )
    assert [row["scope"] for row in listed(instance)] == ["Corner shop (a)"]


def test_a_schedule_is_run_now_from_the_launchpad(
    database: Database,  # noqa: F811
    ledger: Ledger,  # noqa: F811
) -> None:
    schedule_id = insert(database, cadence="daily", export_window="none", active=False)
    job = run_schedule_now_job({})

    def run(given: str) -> dg.ExecuteInProcessResult:
        config = {"ops": {"run_schedule_now": {"config": {"schedule_id": given}}}}
        resources = {"ledger": LedgerAddress(database.url), "source": None}
        return job.execute_in_process(config, resources=resources, raise_on_error=False)

    assert run(f" {schedule_id} ").success
    (made,) = ledger.find()
    assert made.schedule_id == schedule_id
    failed = run("00000000-0000-0000-0000-000000000000")
    assert not failed.success
    assert "schedule" in str(failed.all_events)
    assert len(ledger.find()) == 1
