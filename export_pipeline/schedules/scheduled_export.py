"""Rows of `scheduled_exports` as Python objects, and their validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import TYPE_CHECKING, Any

from export_pipeline.jobs.errors import ScheduleError
from export_pipeline.jobs.storable_text import Unreadable, is_storable
from export_pipeline.schedules.due_times import MISFIRES, Schedule, check_choice

if TYPE_CHECKING:
    from sqlalchemy import RowMapping

EMPTY = ("send", "skip", "say")
"""Rules for an export without rows: send the file as usual, send nothing, or mail a note."""

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

SCHEDULE_OPTIONS = ("window", "empty", "owners")
"""Options that a schedule or cadence adds to a request; the dataset does not define them."""


@dataclass(frozen=True, slots=True)
class ScheduledExport:
    """A recurring export that somebody has scheduled. Times are UTC.

    Attributes:
        additional_formats: Further formats, sent in the same mail.
        each_scope: One export for each scope, to the recipients that the dataset names for it.
        weekday: Day of a weekly schedule, 1 (Monday) to 7 (Sunday).
        cron: Cron line; only of the cadence cron.
        export_window: `previous` for the rows of the time before a run, `none` for every row.
        columns: Selected columns; None for the dataset's default.
        misfire: Rule for missed runs: skip, last or all.
        empty: Rule for an export without rows: send, skip or say.
        last_run: Time for which the newest export was scheduled.
        next_run: Time of the next run; None while inactive, or until an edit of the row is noticed.
        since: Runs up to this time are already handled.
        problem: Reason why the pipeline set it inactive.
    """

    id: str
    dataset: str
    format: str
    additional_formats: Sequence[Any]
    scope: str | None
    each_scope: bool
    cadence: str
    hour: int
    minute: int
    weekday: int
    day_of_month: int
    timezone: str
    cron: str | None
    export_window: str
    filters: Mapping[str, Any]
    columns: Sequence[Any] | None
    options: Mapping[str, Any]
    recipients: Sequence[Any]
    active: bool
    misfire: str
    empty: str
    owner: str | None
    last_run: datetime | None
    next_run: datetime | None
    since: datetime
    problem: str | None
    created_at: datetime

    @classmethod
    def of(cls, row: RowMapping) -> ScheduledExport:
        """Return the schedule of a complete row. Missing JSON becomes an empty value, except in `columns`."""
        empty = {"filters": row["filters"] or {}, "options": row["options"] or {}}
        lists = {name: row[name] or [] for name in ("recipients", "additional_formats")}
        return cls(**{**row, **empty, **lists})

    @property
    def formats(self) -> list[str]:
        """All formats that a run makes, each once."""
        others = self.additional_formats if isinstance(self.additional_formats, list | tuple) else ()
        return list(dict.fromkeys([self.format, *map(str, others)]))

    @property
    def when(self) -> str:
        """Its times for people, e.g. "weekly monday 07:30 Europe/Berlin"."""
        match self.cadence:
            case "cron":
                when = f"cron {self.cron}"
            case "hourly":
                when = f"hourly at minute {self.minute}"
            case _:
                days = {"weekly": f" {WEEKDAYS[self.weekday - 1]}", "monthly": f" day {self.day_of_month}"}
                when = f"{self.cadence}{days.get(self.cadence, '')} {self.hour:02}:{self.minute:02}"
        return f"{when} {self.timezone}{', every row' if self.export_window == 'none' else ''}"

    @property
    def calendar(self) -> Schedule:
        """The times at which it runs.

        Raises:
            ScheduleError: one of its fields is invalid.
        """
        return Schedule(**{field.name: getattr(self, field.name) for field in fields(Schedule)})

    def check(self) -> None:
        """Check the row by itself, without the dataset's declaration.

        Raises:
            ScheduleError: a field is invalid; the message begins with its name and says what is valid.
        """
        for name in ("dataset", "format"):
            text = getattr(self, name)
            if not isinstance(text, str) or not text.strip():
                raise ScheduleError(f"{name}: it is missing; name one.")
        _ = self.calendar
        check_choice("misfire", self.misfire, MISFIRES)
        check_choice("empty", self.empty, EMPTY)
        for name in ("additional_formats", "filters", "columns", "options", "recipients"):
            if isinstance(value := getattr(self, name), Unreadable):
                raise ScheduleError(f"The row cannot be read: {name} hold {', '.join(value)}.")
        for name in ("filters", "options"):
            _check_type(name, getattr(self, name), Mapping, "an object, such as {}")
        for name in SCHEDULE_OPTIONS:
            if name in self.options:
                raise ScheduleError(f"options: {name} is not one to choose; the schedule sets it itself.")
        if self.columns is not None:
            _check_strings("columns", self.columns)
        _check_strings("recipients", self.recipients)
        _check_strings("additional_formats", self.additional_formats)
        if self.each_scope and (self.scope is not None or self.recipients):
            field = "recipients" if self.scope is None else "scope"
            raise ScheduleError(
                f"{field}: a schedule for each scope takes scopes and recipients from the dataset; "
                "leave it out."
            )
        for name in self.__slots__:
            if not is_storable(getattr(self, name)):
                raise ScheduleError(f"{name}: it holds a NUL or a broken character; leave it out.")


def _check_strings(field: str, values: Any) -> None:
    _check_type(field, values, list | tuple, "a list")
    for value in values:
        _check_type(field, value, str, "a text")


def _check_type(field: str, value: Any, kind: Any, expected: str) -> None:
    if not isinstance(value, kind):
        raise ScheduleError(f"{field}: {value!r} is not {expected}.")
