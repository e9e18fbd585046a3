"""A row of `scheduled_exports` as Python sees it, and when it is valid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from export_pipeline.jobs.errors import ScheduleError
from export_pipeline.jobs.texts import Unreadable, is_storable
from export_pipeline.schedules.calendar import MISFIRES, Schedule, one_of

if TYPE_CHECKING:
    from sqlalchemy import RowMapping

EMPTY = ("send", "skip", "say")
"""What becomes of an export without rows: sent like any other, not at all, or a mail that says so."""

TOLD = ("window", "empty", "owners")
"""The options of a request that its schedule or cadence adds: they are not the dataset's."""


@dataclass(frozen=True, slots=True)
class ScheduledExport:
    """A regular export that somebody asked for. Times are UTC.

    Attributes:
        weekday: 1 (Monday) to 7, of a weekly one.
        columns: None for the dataset's own choice.
        misfire: What becomes of runs that were missed: skip, last or all.
        empty: What becomes of an export without rows: send, skip or say.
        last_run: For when its newest export was scheduled.
        next_run: When it runs next; None while it is inactive, or where an edit of its row has not been
            noticed yet.
        since: Runs up to here are dealt with.
        problem: Why the pipeline set it inactive.
    """

    id: str
    dataset: str
    format: str
    scope: str | None
    cadence: str
    hour: int
    minute: int
    weekday: int
    day_of_month: int
    timezone: str
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
        """The one of a row with all columns; JSON that is missing is empty, but for the columns."""
        empty = {"filters": row["filters"] or {}, "options": row["options"] or {}}
        return cls(**{**row, **empty, "recipients": row["recipients"] or []})

    @property
    def calendar(self) -> Schedule:
        """When it runs.

        Raises:
            ScheduleError: a field of it is wrong.
        """
        return Schedule(self.cadence, self.hour, self.minute, self.weekday, self.day_of_month, self.timezone)

    def check(self) -> None:
        """Nothing, if the row alone says nothing that is wrong.

        Raises:
            ScheduleError: a field is wrong; the message begins with its name and says what is valid.
        """
        for name in ("dataset", "format"):
            text = getattr(self, name)
            if not isinstance(text, str) or not text.strip():
                raise ScheduleError(f"{name}: it is missing; name one.")
        _ = self.calendar
        one_of("misfire", self.misfire, MISFIRES)
        one_of("empty", self.empty, EMPTY)
        for name in ("filters", "columns", "options", "recipients"):
            if isinstance(value := getattr(self, name), Unreadable):
                raise ScheduleError(f"The row cannot be read: {name} hold {', '.join(value)}.")
        for name in ("filters", "options"):
            _kind(name, getattr(self, name), Mapping, "an object, such as {}")
        for name in TOLD:
            if name in self.options:
                raise ScheduleError(f"options: {name} is not one to choose; the schedule sets it itself.")
        if self.columns is not None:
            _texts("columns", self.columns)
        _texts("recipients", self.recipients)
        for name in self.__slots__:
            if not is_storable(getattr(self, name)):
                raise ScheduleError(f"{name}: it holds a NUL or a broken character; leave it out.")


def _texts(field: str, values: Any) -> None:
    _kind(field, values, list | tuple, "a list")
    for value in values:
        _kind(field, value, str, "a text")


def _kind(field: str, value: Any, kind: Any, said: str) -> None:
    if not isinstance(value, kind):
        raise ScheduleError(f"{field}: {value!r} is not {said}.")
