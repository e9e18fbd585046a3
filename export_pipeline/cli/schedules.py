"""Commands for regular exports, the rows of `scheduled_exports`. Changes take effect without a restart."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Annotated, Any

import sqlalchemy as sa
import typer

from export_pipeline.cli.completion import complete_format
from export_pipeline.cli.console import UserError, print_json
from export_pipeline.cli.jobs_view import moment, print_lines
from export_pipeline.cli.lookups import declared, scope_id
from export_pipeline.cli.options import DatasetName, Json, OnlyDataset, ViewerScopes, ledger_of, viewer_of
from export_pipeline.cli.output import ScheduledJob, fields_of
from export_pipeline.cli.schedule_options import Cadence, Chosen, with_schedule_options
from export_pipeline.delivery.subscriptions import list_unsubscribed, resubscribe
from export_pipeline.jobs import Job
from export_pipeline.jobs.database import opened_engine
from export_pipeline.schedules import editing
from export_pipeline.schedules.due_requests import run_now as ask_now
from export_pipeline.schedules.periods import run_key
from export_pipeline.schedules.scheduled_export import ScheduledExport
from export_pipeline.settings import load_settings

app = typer.Typer(
    no_args_is_help=False,
    invoke_without_command=True,
    help="List, make, change, pause and run regular exports. They count at once, without a restart.\n\n"
    "Examples: `export-pipeline schedules`, `export-pipeline schedules create records --format excel "
    "--cadence weekly --weekday monday --at 07:30 --timezone Europe/Berlin --scope ID --to ann@example.org`",
)

ScheduleId = Annotated[str, typer.Argument(metavar="ID", help="Id of the schedule, as `schedules` lists it.")]
Format = typer.Option(
    metavar="FORMAT",
    help="One of the dataset's formats, or several with commas: one mail has all files.",
    autocompletion=complete_format,
)


@app.callback()
def schedules(context: typer.Context, as_json: Json = False) -> None:
    """List the schedules, unless another command follows."""
    if context.invoked_subcommand is None:
        list_(as_json=as_json)


@app.command("list")
def list_(
    dataset: OnlyDataset = None,
    viewer_scope: ViewerScopes = None,
    as_json: Json = False,
) -> None:
    """List schedules: active ones in the order of their next runs, then the others.

    Example: `export-pipeline schedules list --dataset records`
    """
    with _engine() as engine:
        listed = editing.list_schedules(engine, viewer_of(viewer_scope), dataset=dataset)
    if as_json:
        print_json(listed)
    else:
        print_lines([_row(schedule) for schedule in listed])


@app.command()
@with_schedule_options
def create(
    dataset: DatasetName,
    format: Annotated[str, Format],
    cadence: Annotated[
        Cadence | None, typer.Option(help="Export the hour, day, week or month before; or see --cron.")
    ] = None,
    *,
    chosen: Chosen,
    viewer_scope: ViewerScopes = None,
    as_json: Json = False,
) -> None:
    """Create a schedule that starts now.

    Example: `export-pipeline schedules create records --scope ID --format excel --cadence monthly --day 31
    --at 06:00 --timezone America/New_York --to ann@example.org --empty say`
    """
    chosen = {"timezone": load_settings().timezone, **chosen}
    chosen |= {"dataset": dataset, **_formats(format)}
    if cadence is not None:
        chosen["cadence"] = cadence
    if "cadence" not in chosen:
        raise UserError("Say when it runs: --cadence hourly, daily, weekly or monthly, or --cron LINE.")
    chosen |= _scope(dataset, chosen, viewer_scope)
    with _engine() as engine:
        made = editing.create_schedule(engine, chosen, _now(), viewer_of(viewer_scope), _check)
    _print_schedule(made, as_json, f"runs next at {moment(made.next_run)}.")


@app.command()
@with_schedule_options
def change(
    schedule_id: ScheduleId,
    format: Annotated[str | None, Format] = None,
    cadence: Annotated[
        Cadence | None, typer.Option(help="Export the hour, day, week or month before; or see --cron.")
    ] = None,
    *,
    chosen: Chosen,
    viewer_scope: ViewerScopes = None,
    as_json: Json = False,
) -> None:
    """Change the given fields of a schedule; lists (--to, --filter, --column, --option) are replaced whole.

    Example: `export-pipeline schedules change ID --at 05:00 --to ann@example.org --to ben@example.org`
    """
    changes = {**chosen, **(_formats(format) if format else {})}
    if cadence is not None:
        changes["cadence"] = cadence
    if not changes:
        raise UserError("Say what to change, e.g. --at 07:30; `schedules change --help` lists what there is.")
    with _engine() as engine:
        if "scope" in changes:
            dataset = editing.get_schedule(engine, schedule_id, viewer_of(viewer_scope)).dataset
            changes |= _scope(dataset, changes, viewer_scope)
        made = editing.update_schedule(engine, schedule_id, changes, viewer_of(viewer_scope), _check)
    if made.active:
        message = f"runs next at {moment(made.next_run)}."
    elif made.problem is None:
        message = "changed; it is paused."
    else:
        message = "changed; it goes on as soon as the daemon has looked at it."
    _print_schedule(made, as_json, message)


@app.command()
def pause(schedule_id: ScheduleId, viewer_scope: ViewerScopes = None, as_json: Json = False) -> None:
    """Pause a schedule: it exports nothing, and missed windows are not exported later.

    Example: `export-pipeline schedules pause ID`
    """
    with _engine() as engine:
        paused = editing.pause_schedule(engine, schedule_id, viewer_of(viewer_scope))
    _print_schedule(paused, as_json, "paused.")


@app.command()
def resume(schedule_id: ScheduleId, viewer_scope: ViewerScopes = None, as_json: Json = False) -> None:
    """Resume a schedule; it starts now.

    Example: `export-pipeline schedules resume ID`
    """
    with _engine() as engine:
        going = editing.resume_schedule(engine, schedule_id, _now(), viewer_of(viewer_scope), _check)
    _print_schedule(going, as_json, f"runs next at {moment(going.next_run)}.")


@app.command()
def delete(
    schedule_id: ScheduleId,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    viewer_scope: ViewerScopes = None,
    as_json: Json = False,
) -> None:
    """Delete a schedule. Requests that it has made stay, with their files.

    Example: `export-pipeline schedules delete ID --yes`
    """
    viewer = viewer_of(viewer_scope)
    with _engine() as engine:
        if not yes:
            there = editing.get_schedule(engine, schedule_id, viewer)
            if not sys.stdin.isatty():
                raise UserError("There is no terminal to confirm in; add --yes to delete it.")
            typer.confirm(f"Delete the {there.cadence} export of {there.dataset}?", abort=True, err=True)
        gone = editing.delete_schedule(engine, schedule_id, viewer)
    _print_schedule(gone, as_json, "deleted.")


@app.command("run-now")
def run_now(
    schedule_id: ScheduleId,
    again: Annotated[
        bool, typer.Option("--again", help="Also if it was requested before; its recipients get it again.")
    ] = False,
    viewer_scope: ViewerScopes = None,
    as_json: Json = False,
) -> None:
    """Request the export of a schedule now: the window of its last run, or every row as of now.

    Its next run stays as it is.

    Example: `export-pipeline schedules run-now ID`
    """
    from export_pipeline.datasets.schedules import known_recipients
    from export_pipeline.orchestration.resources import source_resource

    viewer = viewer_of(viewer_scope)
    with _engine() as engine:
        dataset = editing.get_schedule(engine, schedule_id, viewer).dataset
        recipients, unreadable = known_recipients(source_resource(load_settings()), declared(), [dataset])
        if unreadable:
            raise UserError(unreadable[dataset])
        job_id, is_new = ask_now(engine, schedule_id, _now(), viewer, again=again, recipients=recipients)
    with ledger_of(load_settings()) as ledger:
        job = ledger.get(job_id)
    if as_json:
        print_json(ScheduledJob(**fields_of(job), new=is_new))
    else:
        typer.echo(f"{job.id}: {_describe_request(job, is_new)}")


@app.command()
def unsubscribed(
    schedule_id: ScheduleId,
    again: Annotated[
        list[str] | None,
        typer.Option("--again", metavar="ADDRESS", help="Send this recipient mails again; repeatable."),
    ] = None,
    viewer_scope: ViewerScopes = None,
    as_json: Json = False,
) -> None:
    """List the recipients who have unsubscribed from a schedule's mails, or subscribe them again.

    Example: `export-pipeline schedules unsubscribed ID`
    """
    with _engine() as engine:
        schedule = editing.get_schedule(engine, schedule_id, viewer_of(viewer_scope))
        for address in again or ():
            if not resubscribe(engine, schedule.id, address):
                raise UserError(f"{address} has not unsubscribed from {schedule.id}.")
        addresses = list_unsubscribed(engine, schedule.id)
    if as_json:
        print_json(addresses)
    else:
        typer.echo("\n".join(addresses) or "Nobody has unsubscribed.")


def _describe_request(job: Job, is_new: bool) -> str:
    if is_new:
        return "requested; `export-pipeline jobs --watch` shows its progress."
    return f"{run_key(job) or 'This'} was requested before and is {job.status}; --again requests it again."


def _row(schedule: ScheduledExport) -> dict[str, Any]:
    return {
        "id": schedule.id,
        "dataset": schedule.dataset,
        "format": ", ".join(schedule.formats),
        "scope": "each" if schedule.each_scope else schedule.scope,
        "when": schedule.when,
        "next run": moment(schedule.next_run) if schedule.active else _rests(schedule),
        "last run": moment(schedule.last_run),
        "to": ", ".join(map(str, schedule.recipients)),
        "problem": schedule.problem,
    }


def _formats(text: str) -> dict[str, Any]:
    """Return the fields for formats separated by commas: the first, and further ones for the same mail."""
    first, *others = dict.fromkeys(part.strip() for part in text.split(","))
    return {"format": first, "additional_formats": others}


def _rests(schedule: ScheduledExport) -> str:
    return "paused" if schedule.problem is None else "cannot be run"


def _print_schedule(schedule: ScheduledExport, as_json: bool, message: str) -> None:
    print_json(schedule) if as_json else typer.echo(f"{schedule.id}: {message}")


def _engine() -> AbstractContextManager[sa.Engine]:
    return opened_engine(load_settings().jobs_url)


def _scope(dataset: str, chosen: Chosen, seen: Sequence[str] | None) -> dict[str, Any]:
    """Return the id of the scope that was chosen by an id or a name."""
    if chosen.get("scope") is None:
        return {}
    datasets = [one for one in declared().values() if one.dataset == dataset]
    return {"scope": scope_id(load_settings(), datasets, chosen["scope"], seen, stored=True)}


def _check(schedule: ScheduledExport) -> None:
    """Reject a schedule whose unattended runs would fail."""
    from export_pipeline.datasets.schedules import known_scopes, schedule_check
    from export_pipeline.orchestration.resources import source_resource

    datasets = declared()
    schedule_check(datasets, known_scopes(source_resource(load_settings()), datasets, [schedule.dataset]))(
        schedule
    )


def _now() -> datetime:
    return datetime.now(UTC)
