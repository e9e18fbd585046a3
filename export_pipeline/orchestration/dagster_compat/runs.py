"""Runs: status, log, tags, backfills, retries and materializations."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress

import dagster as dg
import sqlalchemy as sa
from dagster._core.storage.runs.schema import RunsTable
from dagster._core.storage.runs.sql_run_storage import SqlRunStorage
from dagster._core.storage.tags import AUTO_RETRY_RUN_ID_TAG, WILL_RETRY_TAG

from export_pipeline.orchestration.dagster_compat.storage import overwriting


def report_canceling(instance: dg.DagsterInstance, run: dg.DagsterRun, message: str | None = None) -> None:
    """Record that a run is being canceled."""
    instance.report_run_canceling(run, message)


def is_canceling(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Return whether a run is being or was canceled. False too if Dagster's database is unavailable."""
    with suppress(Exception):  # each storage of Dagster has errors of its own for an outage
        run = instance.get_run_by_id(run_id)
        return run is not None and run.status in _CANCELED
    return False


_CANCELED = (dg.DagsterRunStatus.CANCELING, dg.DagsterRunStatus.CANCELED)


def report_canceled(instance: dg.DagsterInstance, run: dg.DagsterRun, message: str) -> None:
    """Record that a run was canceled."""
    instance.report_run_canceled(run, message)


def report_failed(instance: dg.DagsterInstance, run: dg.DagsterRun, message: str) -> None:
    """Record that a run failed."""
    instance.report_run_failed(run, message)


def report_event(instance: dg.DagsterInstance, run: dg.DagsterRun, message: str) -> None:
    """Write a message into the log of a run."""
    instance.report_engine_event(message, run)


def add_run_tags(instance: dg.DagsterInstance, run: dg.DagsterRun, tags: dict[str, str]) -> None:
    """Add tags to a run that exists."""
    instance.add_run_tags(run.run_id, tags)


def with_tags(run: dg.DagsterRun, tags: Mapping[str, str]) -> dg.DagsterRun:
    """Return a copy of a run with more tags."""
    return run.with_tags({**run.tags, **tags})


def is_of_active_backfill(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Return whether a run belongs to a backfill that has not ended."""
    backfill_id = run.tags.get("dagster/backfill")
    backfill = instance.get_backfill(backfill_id) if backfill_id else None
    return backfill is not None and not backfill.status.name.startswith(("COMPLETED", "FAILED", "CANCELED"))


def erase_config(instance: dg.DagsterInstance, run_id: str) -> None:
    """Remove the config of a run from Dagster's database; it may name filters and a title."""
    storage, runs = instance.run_storage, RunsTable
    if not isinstance(storage, SqlRunStorage):
        return
    with overwriting(storage.connect()) as connection:
        body = connection.scalar(sa.select(runs.c.run_body).where(runs.c.run_id == run_id))
        if body is not None and (run := json.loads(body)).get("run_config"):
            run["run_config"] = {_REMOVED: True}
            update = sa.update(runs).where(runs.c.run_id == run_id)
            connection.execute(update.values(run_body=json.dumps(run)))


_REMOVED = "removed with the file"
"""Key of a removed config. No job takes it, so the run is not executed again without its filters."""


def automatic_retry(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dg.DagsterRun | None:
    """Return the run with which Dagster itself has retried a failed run, or None."""
    run_id = run.tags.get(AUTO_RETRY_RUN_ID_TAG)
    return instance.get_run_by_id(run_id) if run_id else None


def will_be_retried(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Return whether Dagster itself will retry a failed run. It records this shortly after the failure."""
    return instance.run_retries_enabled and run.tags.get(WILL_RETRY_TAG) != "false"


def log_entries(
    instance: dg.DagsterInstance, run_id: str, cursor: str | None
) -> tuple[list[dg.EventLogEntry], str]:
    """Return the entries of a run's log after a cursor, and the new cursor."""
    page = instance.get_records_for_run(run_id, cursor)
    return [record.event_log_entry for record in page.records], page.cursor


def materializations(instance: dg.DagsterInstance, run_id: str) -> Iterator[dg.AssetMaterialization]:
    """Yield what a run has materialized, in order."""
    kind = dg.DagsterEventType.ASSET_MATERIALIZATION
    for record in instance.get_records_for_run(run_id, of_type=kind).records:
        if materialization := record.event_log_entry.asset_materialization:
            yield materialization
