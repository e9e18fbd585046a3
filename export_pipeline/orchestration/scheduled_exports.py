"""The asset that lists `scheduled_exports` in Dagster, and the job that runs one of them now."""

import hashlib
import json
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import sqlalchemy as sa

from export_pipeline.datasets.partition_keys import scope_of_key, scopes_definition
from export_pipeline.datasets.schedules import known_recipients
from export_pipeline.jobs.database import opened_engine, transaction
from export_pipeline.jobs.errors import ScheduleError, UnknownScheduleError
from export_pipeline.jobs.states import Status
from export_pipeline.jobs.tables import jobs, schedules
from export_pipeline.orchestration.cadences import Schedulable
from export_pipeline.orchestration.file_metadata import escape_markdown
from export_pipeline.schedules.due_requests import run_now
from export_pipeline.schedules.editing import count_schedules, get_schedule, list_schedules
from export_pipeline.schedules.scheduled_export import ScheduledExport

JOB = "run_schedule_now_job"
_KEY = dg.AssetKey("scheduled_exports")
_SHOWN = 500
_SECONDS = 60
_COLUMNS = (
    "schedule",
    "dataset",
    "formats",
    "scope",
    "when",
    "next run",
    "last run",
    "result",
    "recipients",
    "state",
)


@dataclass
class _Result:
    """Result of a schedule's last run, e.g. "2 completed, 1 failed", and a run of Dagster that shows it."""

    text: str = ""
    run_id: str | None = None


def scheduled_exports_asset() -> dg.AssetSpec:
    """Return the asset whose newest observation lists the schedules of applications and people."""
    return dg.AssetSpec(
        _KEY,
        description=(
            "Regular exports that people and applications have scheduled, the rows of `scheduled_exports`. "
            "The newest observation lists them with the next run, the last run, its result and a link.\n\n"
            f"To export one now, copy its id and start `{JOB}` in the launchpad. "
            "`export-pipeline schedules` and the HTTP service create, change, pause and delete them."
        ),
    )


def show_schedules(
    instance: dg.DagsterInstance,
    engine: sa.Engine,
    cursor: str | None,
    now: float | None = None,
    *,
    ui_url: str,
) -> str | None:
    """Report the list of schedules to Dagster if it has changed, at most once a minute.

    The first 500 are listed: active ones by next run. Addresses are not shown, only how many there are, as
    they are personal data.

    Args:
        cursor: Result of the call before; None at first.
        now: Seconds since 1970; by default the current time.
        ui_url: Address of Dagster's UI, for links to runs.

    Returns:
        What the next call needs; None if it was too early to look.

    Raises:
        LedgerError: the ledger cannot be used.
    """
    now = time.time() if now is None else now
    shown, looked = json.loads(cursor) if cursor else (None, 0.0)
    if 0 <= now - looked < _SECONDS:
        return None
    there = list_schedules(engine, limit=_SHOWN)
    results = _results(engine, [schedule.id for schedule in there])
    rows = [_row(schedule, results[schedule.id]) for schedule in there]
    count = count_schedules(engine)
    runs = [results[schedule.id].run_id for schedule in there]
    fingerprint = hashlib.sha256(json.dumps([count, rows, runs]).encode()).hexdigest()
    if fingerprint != shown and (rows or shown):
        names = _scope_partitions(instance, there)
        for row in rows:
            row["scope"] = names.get((row["dataset"], row["scope"]), row["scope"])
        links = [
            _link(row, f"{ui_url}/runs/{run_id}") for row, run_id in zip(rows, runs, strict=True) if run_id
        ]
        metadata: dict[str, Any] = {
            "schedules": dg.MetadataValue.table(
                [dg.TableRecord(row) for row in rows],
                dg.TableSchema([dg.TableColumn(name, "string") for name in _COLUMNS]),
            ),
            # Cells of a table are plain text in the UI.
            **({"runs": dg.MetadataValue.md("\n".join(links))} if links else {}),
            "count": dg.MetadataValue.int(count),
        }
        instance.report_runless_asset_event(dg.AssetObservation(_KEY, metadata=metadata))
    return json.dumps([fingerprint, now])


def _scope_partitions(
    instance: dg.DagsterInstance, there: Sequence[ScheduledExport]
) -> Mapping[tuple[str, str], str]:
    """Return the partition keys of scopes, with their names for people, by dataset and scope."""
    return {
        (dataset, scope_of_key(key)): key
        for dataset in {schedule.dataset for schedule in there if schedule.scope is not None}
        for key in instance.get_dynamic_partitions(scopes_definition(dataset))
    }


def _link(row: Mapping[str, str], address: str) -> str:
    about = ", ".join(" ".join(row[name].split()) for name in ("dataset", "scope", "when") if row[name])
    text = escape_markdown(f"{about}: {row['result']}")
    return f"- [{text}]({address})"


def _row(schedule: ScheduledExport, result: _Result) -> dict[str, str]:
    state = "on" if schedule.active else "paused"
    if schedule.problem is not None:  # only its field: the text may hold an address
        state = f"cannot be run: {schedule.problem.partition(':')[0][:50]}"
    cells = (
        schedule.id,
        schedule.dataset,
        ", ".join(schedule.formats),
        "each scope" if schedule.each_scope else schedule.scope or "",
        schedule.when,
        _moment(schedule.next_run),
        _moment(schedule.last_run),
        result.text,
        "of each scope" if schedule.each_scope else str(len(schedule.recipients)),
        state,
    )
    return dict(zip(_COLUMNS, cells, strict=True))


def _results(engine: sa.Engine, ids: Sequence[str]) -> Mapping[str, _Result]:
    """Return the result of the last run of each schedule. Of several runs of Dagster it has a failed one."""
    select = (
        sa.select(jobs.c.schedule_id, jobs.c.status, sa.func.count(), sa.func.max(jobs.c.run_id))
        .join(
            schedules,
            sa.and_(schedules.c.id == jobs.c.schedule_id, schedules.c.last_run == jobs.c.scheduled_for),
        )
        .where(jobs.c.schedule_id.in_(ids))
        .group_by(jobs.c.schedule_id, jobs.c.status)
        .order_by(jobs.c.schedule_id, jobs.c.status)
    )
    results = defaultdict[str, _Result](_Result)
    with transaction(engine, write=False) as connection:
        for schedule_id, status, count, run_id in connection.execute(select):
            result = results[schedule_id]
            result.text += f"{', ' if result.text else ''}{count:,} {status}"
            if run_id is not None and (result.run_id is None or status == Status.FAILED):
                result.run_id = run_id
    return results


def _moment(at: datetime | None) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if at else ""


def run_schedule_now_job(datasets: Mapping[str, Schedulable]) -> dg.JobDefinition:
    """Build the job that requests what a schedule exports. A run takes a second and makes no file."""

    @dg.op(
        config_schema={
            "schedule_id": dg.Field(
                str, description="Id of the schedule, as the asset scheduled_exports lists it."
            ),
            "again": dg.Field(
                bool,
                default_value=False,
                description="Also if it was requested before; recipients get it again.",
            ),
        },
        required_resource_keys={"ledger", "source"},
        description="Request the window of a schedule's last run, or every row as of now.",
    )
    def run_schedule_now(context: dg.OpExecutionContext) -> None:
        schedule_id, again = context.op_config["schedule_id"].strip(), context.op_config["again"]
        try:
            with opened_engine(context.resources.ledger.url) as engine:
                schedule = get_schedule(engine, schedule_id)
                names = [schedule.dataset] if schedule.each_scope else []
                recipients, unreadable = known_recipients(context.resources.source, datasets, names)
                if unreadable:
                    raise ScheduleError(unreadable[schedule.dataset])
                job_id, is_new = run_now(
                    engine, schedule_id, datetime.now(UTC), again=again, recipients=recipients
                )
        except (ScheduleError, UnknownScheduleError) as error:
            raise dg.Failure(str(error), allow_retries=False) from None
        if is_new:
            context.log.info(f"Export {job_id} is requested; requests_sensor starts its run within seconds.")
        else:
            context.log.info(f"This window was requested before, as export {job_id}; set again to repeat it.")

    @dg.job(
        name=JOB,
        executor_def=dg.in_process_executor,
        description="Exports one of the scheduled_exports now. Its next run stays as it is.",
    )
    def job() -> None:
        run_schedule_now()

    return job
