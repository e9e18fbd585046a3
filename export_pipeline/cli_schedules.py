"""Commands about regular exports: rows of `scheduled_exports`, edited while everything runs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated, Any

import sqlalchemy as sa
import typer

from export_pipeline import arguments
from export_pipeline.cli_datasets import declared
from export_pipeline.cli_options import Json, ViewerScopes, ledger_of, viewer_of
from export_pipeline.console import UserError, print_json
from export_pipeline.jobs import Job
from export_pipeline.jobs import schedule_editing as editing
from export_pipeline.jobs.database import open_engine
from export_pipeline.jobs.schedule_rows import ScheduledExport
from export_pipeline.jobs.scheduled import run_now as ask_now
from export_pipeline.jobs_view import moment, plain, print_lines
from export_pipeline.settings import load_settings

app = typer.Typer(
    no_args_is_help=False,
    invoke_without_command=True,
    help="List, make, change, pause and run regular exports. They count at once, without a restart.\n\n"
    "Examples: `export-pipeline schedules`, `export-pipeline schedules create records --format excel "
    "--cadence weekly --weekday monday --at 07:30 --timezone Europe/Berlin --scope ID --to ann@example.org`",
)

ScheduleId = Annotated[str, typer.Argument(help="Id of the schedule, as `schedules list` shows it.")]
Dataset = Annotated[str, typer.Argument(help="What to export, e.g. takeoff.")]
Scope = Annotated[str | None, typer.Option(help="Whose rows.")]
At = Annotated[str | None, typer.Option(help="HH:MM on the zone's clock.")]
Weekday = Annotated[str | None, typer.Option(help="Of a weekly one: monday to sunday, or 1 to 7.")]
Day = Annotated[int | None, typer.Option(help="Of a monthly one, 1 to 31; the last day where there is none.")]
Timezone = Annotated[str | None, typer.Option(help="IANA name of the zone, e.g. Europe/Berlin.")]
Filter = Annotated[list[str] | None, typer.Option(help="As of `request`.")]
Column = Annotated[list[str] | None, typer.Option(help="As of `request`.")]
Option = Annotated[list[str] | None, typer.Option("--option", "-o", help="As of `request`.")]
To = Annotated[list[str] | None, typer.Option(help="Who gets it by mail; may be given more than once.")]
Owner = Annotated[str | None, typer.Option(help="Who is told of failures.")]
Misfire = Annotated[
    str | None, typer.Option(help="Of runs missed while nothing ran, make up none (skip), the last or all.")
]
Empty = Annotated[
    str | None, typer.Option(help="Without rows, send the file, skip the mail, or only say so.")
]

_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


@app.callback()
def schedules(context: typer.Context, as_json: Json = False) -> None:
    """List them, where nothing else is said."""
    if context.invoked_subcommand is None:
        list_(as_json=as_json)


@app.command("list")
def list_(
    dataset: Annotated[str | None, typer.Option(help="Only of this dataset.")] = None,
    viewer_scope: ViewerScopes = None,
    as_json: Json = False,
) -> None:
    """List schedules: active ones in the order of their next runs, then the others.

    Example: `export-pipeline schedules list --dataset records`
    """
    with _engine() as engine:
        found = editing.list_schedules(engine, viewer_of(viewer_scope), dataset=dataset)
    if as_json:
        print_json([plain(schedule) for schedule in found])
    else:
        print_lines([_row(schedule) for schedule in found])


@app.command()
def create(
    dataset: Dataset,
    format: Annotated[str, typer.Option(help="One of the dataset's formats.")],
    cadence: Annotated[
        str, typer.Option(help="daily, weekly or monthly: exports the day, week or month before.")
    ],
    scope: Scope = None,
    at: At = None,
    weekday: Weekday = None,
    day: Day = None,
    timezone: Timezone = None,
    filter: Filter = None,
    column: Column = None,
    option: Option = None,
    to: To = None,
    owner: Owner = None,
    misfire: Misfire = None,
    empty: Empty = None,
    viewer_scope: ViewerScopes = None,
    as_json: Json = False,
) -> None:
    """Make a schedule, which begins now.

    Example: `export-pipeline schedules create records --scope ID --format excel --cadence monthly --day 31
    --at 06:00 --timezone America/New_York --to ann@example.org --empty say`
    """
    settings = load_settings()
    chosen = _chosen(scope, at, weekday, day, timezone, filter, column, option, to, owner, misfire, empty)
    chosen = {"timezone": settings.timezone, **chosen}
    chosen |= {"dataset": dataset, "format": format, "cadence": cadence}
    with _engine() as engine:
        made = editing.create_schedule(engine, chosen, _now(), viewer_of(viewer_scope), _offered())
    _told(made, as_json, f"runs next at {moment(made.next_run)}.")


@app.command()
def change(
    schedule_id: ScheduleId,
    format: Annotated[str | None, typer.Option(help="One of the dataset's formats.")] = None,
    cadence: Annotated[str | None, typer.Option(help="daily, weekly or monthly.")] = None,
    scope: Scope = None,
    at: At = None,
    weekday: Weekday = None,
    day: Day = None,
    timezone: Timezone = None,
    filter: Filter = None,
    column: Column = None,
    option: Option = None,
    to: To = None,
    owner: Owner = None,
    misfire: Misfire = None,
    empty: Empty = None,
    viewer_scope: ViewerScopes = None,
    as_json: Json = False,
) -> None:
    """Change what is given of a schedule; lists (--to, --filter, --column, --option) are replaced whole.

    Example: `export-pipeline schedules change ID --at 05:00 --to ann@example.org --to ben@example.org`
    """
    changes = _chosen(scope, at, weekday, day, timezone, filter, column, option, to, owner, misfire, empty)
    changes |= {name: value for name, value in (("format", format), ("cadence", cadence)) if value}
    if not changes:
        raise UserError("Say what to change, e.g. --at 07:30; `schedules change --help` lists what there is.")
    with _engine() as engine:
        made = editing.update_schedule(engine, schedule_id, changes, viewer_of(viewer_scope), _offered())
    _told(
        made, as_json, f"runs next at {moment(made.next_run)}." if made.active else "changed; it is paused."
    )


@app.command()
def pause(schedule_id: ScheduleId, viewer_scope: ViewerScopes = None, as_json: Json = False) -> None:
    """Let a schedule rest: nothing is exported, and nothing is saved up for later.

    Example: `export-pipeline schedules pause ID`
    """
    with _engine() as engine:
        paused = editing.pause_schedule(engine, schedule_id, viewer_of(viewer_scope))
    _told(paused, as_json, "paused.")


@app.command()
def resume(schedule_id: ScheduleId, viewer_scope: ViewerScopes = None, as_json: Json = False) -> None:
    """Let a schedule run again, from now on.

    Example: `export-pipeline schedules resume ID`
    """
    with _engine() as engine:
        going = editing.resume_schedule(engine, schedule_id, _now(), viewer_of(viewer_scope), _offered())
    _told(going, as_json, f"runs next at {moment(going.next_run)}.")


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
                raise UserError("Nobody is here to be asked; add --yes to delete it.")
            typer.confirm(f"Delete the {there.cadence} export of {there.dataset}?", abort=True, err=True)
        gone = editing.delete_schedule(engine, schedule_id, viewer)
    _told(gone, as_json, "deleted.")


@app.command("run-now")
def run_now(
    schedule_id: ScheduleId,
    again: Annotated[
        bool, typer.Option("--again", help="Also if it was asked for before; its recipients get it again.")
    ] = False,
    viewer_scope: ViewerScopes = None,
    as_json: Json = False,
) -> None:
    """Ask for what a schedule's last run exports, whether it took place or not. Its next run stays as it is.

    Example: `export-pipeline schedules run-now ID`
    """
    viewer = viewer_of(viewer_scope)
    with _engine() as engine:
        job_id, is_new = ask_now(engine, schedule_id, _now(), viewer)
    with ledger_of(load_settings()) as ledger:
        job = ledger.get(job_id)
        if again and not is_new:
            job = ledger.request(
                job.dataset,
                job.format,
                scope=job.scope,
                filters=job.filters,
                columns=job.columns,
                options=job.options,
                requested_by=job.requested_by,
                recipients=job.recipients,
                schedule_id=job.schedule_id,
            )
            is_new = True
    if as_json:
        print_json({**plain(job), "new": is_new})
    else:
        typer.echo(f"{job.id}: {_asked(job, is_new)}")


def _asked(job: Job, is_new: bool) -> str:
    if is_new:
        return "asked for; `export-pipeline jobs --watch` shows how it goes."
    return f"{job.window_key} was asked for before, and is {job.status}; --again asks once more."


def _chosen(
    scope: str | None,
    at: str | None,
    weekday: str | None,
    day: int | None,
    timezone: str | None,
    filter: list[str] | None,
    column: list[str] | None,
    option: list[str] | None,
    to: list[str] | None,
    owner: str | None,
    misfire: str | None,
    empty: str | None,
) -> dict[str, Any]:
    """The fields of a schedule that were given, by the ledger's names."""
    given = {
        "scope": scope,
        "day_of_month": day,
        "timezone": timezone,
        "filters": arguments.filters(filter) if filter else None,
        "columns": column,
        "options": arguments.options(option) if option else None,
        "recipients": to,
        "owner": owner,
        "misfire": misfire,
        "empty": empty,
        "weekday": _weekday(weekday) if weekday else None,
    }
    chosen = {name: value for name, value in given.items() if value is not None}
    return chosen | (_clock(at) if at else {})


def _clock(text: str) -> dict[str, int]:
    hour, colon, minute = text.partition(":")
    if not (colon and hour.isdecimal() and minute.isdecimal()):
        raise UserError(f"--at {text}: write it as HH:MM, e.g. 07:30.")
    return {"hour": int(hour), "minute": int(minute)}


def _weekday(text: str) -> int:
    if text.isdecimal():
        return int(text)
    named = [day for day in _WEEKDAYS if day.startswith(text.lower()) and len(text) > 1]
    if len(named) != 1:
        raise UserError(f"--weekday {text}: it is none of {', '.join(_WEEKDAYS)}.")
    return _WEEKDAYS.index(named[0]) + 1


def _row(schedule: ScheduledExport) -> dict[str, Any]:
    return {
        "id": schedule.id,
        "dataset": schedule.dataset,
        "format": schedule.format,
        "scope": schedule.scope,
        "when": _when(schedule),
        "next run": moment(schedule.next_run) if schedule.active else "paused",
        "last run": moment(schedule.last_run),
        "to": ", ".join(map(str, schedule.recipients)),
        "problem": schedule.problem,
    }


def _when(schedule: ScheduledExport) -> str:
    day = {
        "weekly": f" {_WEEKDAYS[schedule.weekday - 1]}",
        "monthly": f" day {schedule.day_of_month}",
    }.get(schedule.cadence, "")
    return f"{schedule.cadence}{day} {schedule.hour:02}:{schedule.minute:02} {schedule.timezone}"


def _told(schedule: ScheduledExport, as_json: bool, said: str) -> None:
    print_json(plain(schedule)) if as_json else typer.echo(f"{schedule.id}: {said}")


@contextmanager
def _engine() -> Iterator[sa.Engine]:
    engine = open_engine(load_settings().jobs_url)
    try:
        yield engine
    finally:
        engine.dispose()


def _offered() -> dict[str, list[str]]:
    """The formats of each dataset that is declared."""
    return {name: list(dataset.formats) for name, dataset in declared().items()}


def _now() -> datetime:
    return datetime.now(UTC)
