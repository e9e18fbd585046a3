"""Options of schedules, shared by the commands that create and change them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import typer

from export_pipeline.cli import arguments
from export_pipeline.cli.console import UserError
from export_pipeline.cli.options import Columns, Filters, Options, ScopeId
from export_pipeline.schedules.scheduled_export import WEEKDAYS

Cadence = Literal["hourly", "daily", "weekly", "monthly", "cron"]
Window = Literal["previous", "none"]
Misfire = Literal["skip", "last", "all"]
Empty = Literal["send", "skip", "say"]

Chosen = Mapping[str, Any]
"""Fields of a schedule given on the command line, by their names in the ledger."""


def with_schedule_options(command: Callable[..., None]) -> Callable[..., None]:
    """Decorate a command: replace its parameter `chosen` by these options, and pass their values in it."""
    own = inspect.signature(command, eval_str=True).parameters
    options = inspect.signature(_chosen, eval_str=True).parameters

    @functools.wraps(command)
    def run(**given: Any) -> None:
        command(chosen=_chosen(**{name: given.pop(name) for name in options}), **given)

    # Typer inspects the signature, and passes all parameters by name.
    parameters: list[inspect.Parameter] = []
    for one in own.values():
        parameters += options.values() if one.name == "chosen" else [one]
    named = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in parameters]
    run.__signature__ = inspect.Signature(named)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    return run


def _chosen(
    scope: ScopeId = None,
    each_scope: Annotated[
        bool,
        typer.Option(
            "--each-scope",
            help="Export each scope by itself, to the recipients that the dataset's scope.recipients name.",
        ),
    ] = False,
    at: Annotated[
        str | None, typer.Option(metavar="HH:MM", help="Local time in the zone. Default: 00:00.")
    ] = None,
    weekday: Annotated[
        str | None,
        typer.Option(
            metavar="DAY", help="Of a weekly schedule: monday to sunday, or 1 to 7. Default: monday."
        ),
    ] = None,
    day: Annotated[
        int | None,
        typer.Option(
            metavar="NUMBER",
            help="Of a monthly schedule, 1 to 31; the last day in a shorter month. Default: 1.",
        ),
    ] = None,
    timezone: Annotated[
        str | None,
        typer.Option(metavar="ZONE", help="IANA name, e.g. Europe/Berlin. Default: EXPORT_TIMEZONE."),
    ] = None,
    cron: Annotated[
        str | None,
        typer.Option(
            metavar="LINE",
            help="Minute, hour, day, month and weekday, e.g. '0 7 * * 1-5'. Exports what is new since the "
            "run before. Sets --cadence cron.",
        ),
    ] = None,
    window: Annotated[
        Window | None,
        typer.Option(
            help="Export the rows of the time before each run, or none: every row as of the run. "
            "Default: previous."
        ),
    ] = None,
    filter: Filters = None,
    preset: Annotated[
        str | None, typer.Option(metavar="NAME", help="A preset of the dataset: filters and columns by name.")
    ] = None,
    column: Columns = None,
    sort: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN", help="Sort by it; -COLUMN descending; repeatable.")
    ] = None,
    title: Annotated[str | None, typer.Option(metavar="TEXT", help="Title of the file and the mail.")] = None,
    option: Options = None,
    to: Annotated[
        list[str] | None, typer.Option(metavar="ADDRESS", help="Who gets the file by mail; repeatable.")
    ] = None,
    owner: Annotated[
        str | None,
        typer.Option(metavar="PERSON", help="Owner; if it is a mail address, it gets notices of failure."),
    ] = None,
    misfire: Annotated[
        Misfire | None,
        typer.Option(help="Which windows to export that were missed while nothing ran. Default: last."),
    ] = None,
    empty: Annotated[
        Empty | None,
        typer.Option(help="Without rows send the file, skip the mail, or mail a note. Default: send."),
    ] = None,
) -> dict[str, Any]:
    """Return the given fields of a schedule, by their names in the ledger."""
    named = {"preset": preset, "sort": sort, "title": title}
    options = {name: value for name, value in named.items() if value is not None}
    options |= arguments.options(option) if option else {}
    given = {
        "scope": scope,
        "each_scope": each_scope or None,
        "cron": cron,
        "cadence": "cron" if cron else None,
        "export_window": window,
        "day_of_month": day,
        "timezone": timezone,
        "filters": arguments.filters(filter) if filter else None,
        "columns": column,
        "options": options or None,
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
    named = [day for day in WEEKDAYS if day.startswith(text.lower()) and len(text) > 1]
    if len(named) != 1:
        raise UserError(f"--weekday {text}: it is not one of {', '.join(WEEKDAYS)}.")
    return WEEKDAYS.index(named[0]) + 1
