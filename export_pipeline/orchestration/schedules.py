"""Schedules of a dataset's cadences."""

import dagster as dg

from export_pipeline.jobs import LedgerError
from export_pipeline.jobs.database import opened_engine
from export_pipeline.jobs.migrate import is_current
from export_pipeline.orchestration.cadences import Cadence
from export_pipeline.orchestration.dagster_compat.partitions import last_window
from export_pipeline.orchestration.partitions import ended_since, known_scopes
from export_pipeline.orchestration.window_requests import JOB, run_request
from export_pipeline.redaction import redacted_errors
from export_pipeline.schedules.cadence_requests import newest_window
from export_pipeline.settings import load_settings


def cadence_schedule(
    cadence: Cadence, *, cron: str, timezone: str, catches_up: bool
) -> dg.ScheduleDefinition:
    """Build the schedule that exports the last window that has ended. It is off by default.

    With catch-up it also exports the windows that ended since the newest window in the ledger.

    A tick only names the windows. The run that it starts requests them (see `window_requests`).
    """
    dataset, windows = cadence.dataset, cadence.windows
    of_scopes = ", of every scope" if cadence.scoped else ""

    @dg.schedule(
        name=f"{dataset}_{cadence.name}_schedule",
        job_name=JOB,
        cron_schedule=cron,
        execution_timezone=timezone,
        description=f"Exports the {cadence.name} window that ended last{of_scopes}.",
    )
    @redacted_errors()
    def schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        ended = last_window(windows, context.scheduled_execution_time)
        if ended is None:
            return dg.SkipReason("No window has ended yet.")
        if cadence.scoped and not known_scopes(context.instance, dataset):
            return dg.SkipReason(
                f"{dataset} has no scopes yet; is the sensor {dataset}_scopes_sensor running?"
            )
        url = load_settings().jobs_url
        if not is_current(url):
            raise LedgerError(
                "The tables of export jobs are missing or old, and scheduled windows are requested there; "
                "run `export-pipeline migrate`."
            )
        since = _newest(url, cadence) if catches_up else None
        return run_request(cadence, ended_since(windows, since, ended))

    return schedule


def _newest(url: str, cadence: Cadence) -> str | None:
    """Return the name of the newest window that was requested."""
    with opened_engine(url) as engine:
        return newest_window(engine, cadence.dataset, cadence.name)
