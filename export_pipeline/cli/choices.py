"""Options of schedules, shared by the commands that create and change them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer

from export_pipeline.cli import arguments
from export_pipeline.cli.console import UserError

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

Chosen = Mapping[str, Any]
"""Fields of a schedule given on the command line, by their names in the ledger."""


def choosing(command: Callable[..., None]) -> Callable[..., None]:
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
    scope: Annotated[str | None, typer.Option(help="Whose rows.")] = None,
    at: Annotated[str | None, typer.Option(help="HH:MM on the zone's clock.")] = None,
    weekday: Annotated[str | None, typer.Option(help="Of a weekly one: monday to sunday, or 1 to 7.")] = None,
    day: Annotated[
        int | None, typer.Option(help="Of a monthly one, 1 to 31; the last day where there is none.")
    ] = None,
    timezone: Annotated[str | None, typer.Option(help="IANA name of the zone, e.g. Europe/Berlin.")] = None,
    filter: Annotated[list[str] | None, typer.Option(help="As of `request`.")] = None,
    column: Annotated[list[str] | None, typer.Option(help="As of `request`.")] = None,
    option: Annotated[list[str] | None, typer.Option("--option", "-o", help="As of `request`.")] = None,
    to: Annotated[
        list[str] | None, typer.Option(help="Who gets it by mail; may be given more than once.")
    ] = None,
    owner: Annotated[str | None, typer.Option(help="Who is told of failures.")] = None,
    misfire: Annotated[
        str | None,
        typer.Option(help="Of runs missed while nothing ran, make up none (skip), the last or all."),
    ] = None,
    empty: Annotated[
        str | None, typer.Option(help="Without rows, send the file, skip the mail, or only say so.")
    ] = None,
) -> dict[str, Any]:
    """Return the given fields of a schedule, by their names in the ledger."""
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
    named = [day for day in WEEKDAYS if day.startswith(text.lower()) and len(text) > 1]
    if len(named) != 1:
        raise UserError(f"--weekday {text}: it is none of {', '.join(WEEKDAYS)}.")
    return WEEKDAYS.index(named[0]) + 1
