"""Schedules that cannot be run: what people see of them, and how they correct them."""

import os
from datetime import UTC, datetime

import sqlalchemy as sa

from export_pipeline.jobs import Ledger
from export_pipeline.jobs.database import open_engine, transaction
from export_pipeline.jobs.tables import schedules
from export_pipeline.schedules.due_requests import claim_due
from export_pipeline_tests.commands import Command
from export_pipeline_tests.orchestration.deployment import Source


def test_a_broken_schedule_is_shown_and_corrected(command: Command, ledger: Ledger) -> None:
    engine = open_engine(os.environ["EXPORT_JOBS_URL"])
    row = {"dataset": "sellers", "format": "csv", "cadence": "daily", "timezone": "Berlin"}
    with transaction(engine, write=True) as connection:
        connection.execute(sa.insert(schedules).values(**row))
    claim_due(engine, datetime.now(UTC), 10)
    (listed,) = command("schedules", "--json").json
    assert listed["problem"].startswith("timezone: 'Berlin' is not an IANA time zone")
    assert "cannot be run" in command("schedules").out
    assert "schedule_broken" in command("jobs", "--status", "failed").out
    (notice,) = command("jobs", "--json").json
    assert "retry" not in command("show", notice["id"]).out
    assert f"schedules change {listed['id']}" in command("retry", notice["id"]).err
    still = command("schedules", "change", listed["id"], "--at", "07:00")
    assert (still.code, still.out) == (2, "")
    assert "timezone: 'Berlin'" in still.err
    changed = command("schedules", "change", listed["id"], "--timezone", "Europe/Berlin")
    assert "it goes on as soon as the daemon has looked at it" in changed.out
    assert "runs next at" in command("schedules", "resume", listed["id"]).out
    (listed,) = command("schedules", "--json").json
    assert (listed["active"], listed["problem"]) == (True, None)
    engine.dispose()


def test_a_schedule_that_would_fail_at_night_is_not_made(command: Command, source: Source) -> None:
    create = ["schedules", "create", "takeoff", "--format", "csv", "--cadence", "daily"]
    unknown = command(*create, "--scope", "nobody")
    assert (unknown.code, unknown.err.count("\n")) == (2, 1)
    assert "scope: takeoff has no scope 'nobody'; `export-pipeline datasets --scopes takeoff`" in unknown.err
    wrong = command(*create, "--scope", source.scopes[0], "-o", "group_by=x")
    assert wrong.code == 2
    assert "group_by: it must be 'condition', 'page' or 'category', not \"x\"" in wrong.err
