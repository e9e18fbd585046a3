"""Due times and windows of schedules. Pure functions: no clock, no database.

A schedule has one run for each local day, week or month of its zone, at its local time. The run exports the
day, week or month before. For a local time that a transition skips, the run is at the first moment after the
gap. Of an ambiguous time the first occurrence counts. Weeks begin on Monday.
"""

from __future__ import annotations

import calendar
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from difflib import get_close_matches
from functools import lru_cache
from itertools import islice, takewhile
from typing import Any
from zoneinfo import ZoneInfo

from export_pipeline.core.windows import Window
from export_pipeline.jobs.errors import ScheduleError
from export_pipeline.time_zones import zone_problem

CADENCES = ("daily", "weekly", "monthly")
MISFIRES = ("skip", "last", "all")
GRACE = timedelta(minutes=10)
"""A run that starts at most this late is on time, not missed."""

_RANGES = {"hour": (0, 23), "minute": (0, 59), "weekday": (1, 7), "day_of_month": (1, 31)}
_SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Schedule:
    """The times at which a scheduled export runs.

    Attributes:
        cadence: daily, weekly or monthly.
        hour: Local hour, 0 to 23.
        minute: Local minute, 0 to 59.
        weekday: Day of a weekly schedule, 1 (Monday) to 7 (Sunday).
        day_of_month: Day of a monthly schedule, 1 to 31; the last day in a shorter month.
        timezone: IANA name of the time zone.

    Raises:
        ScheduleError: a field is invalid; the message names it and the valid values.
    """

    cadence: str
    hour: int = 0
    minute: int = 0
    weekday: int = 1
    day_of_month: int = 1
    timezone: str = "UTC"

    def __post_init__(self) -> None:
        check_choice("cadence", self.cadence, CADENCES)
        for name, (least, most) in _RANGES.items():
            value = getattr(self, name)
            if type(value) is not int or not least <= value <= most:
                raise ScheduleError(f"{name}: {value!r} is no whole number from {least} to {most}.")
        _zone(self.timezone)

    @property
    def zone(self) -> ZoneInfo:
        """The time zone."""
        return ZoneInfo(self.timezone)


@dataclass(frozen=True, slots=True)
class Due:
    """A run of a schedule.

    Attributes:
        scheduled_for: Time at which it is due (UTC).
        window: The day, week or month before, named by its first day. Its ends have the zone's UTC offsets.
    """

    scheduled_for: datetime
    window: Window


def next_run(schedule: Schedule, after: datetime) -> datetime:
    """Return the first run after a time (aware), in UTC."""
    return next(_runs(schedule, after))[0]


def due(
    schedule: Schedule,
    since: datetime,
    now: datetime,
    misfire: str,
    *,
    grace: timedelta = GRACE,
    limit: int | None = None,
) -> list[Due]:
    """Return the runs that are due now, in order.

    Args:
        since: Runs up to this time are already handled (aware).
        now: Runs up to this time are due (aware).
        misfire: Rule for missed runs: `skip` runs none of them, `last` the newest, `all` every one.
        grace: Delay up to which the newest run is on time.
        limit: Maximum number of runs; the oldest are returned.
    """
    if misfire == "all":
        come = takewhile(lambda run: run[0] <= now, _runs(schedule, since))
        return [Due(at, _window_before(schedule, period)) for at, period in islice(come, limit)]
    at, period = _newest(schedule, now)
    if at <= since or limit == 0 or (misfire == "skip" and now - at > grace):
        return []
    return [Due(at, _window_before(schedule, period))]


@lru_cache(4096)  # each midnight is needed several times: it bounds two windows, and shows if they exist
def first_moment(wall: datetime, zone: ZoneInfo) -> datetime:
    """Return the UTC time at which a zone's clock first shows a local time (naive), or skips past it."""
    latest = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if _shown(latest, zone) == wall:
        return latest
    # In a gap (PEP 495): with fold=0 the time maps to after the transition, with fold=1 to before it.
    earliest = wall.replace(tzinfo=zone, fold=1).astimezone(UTC)
    while latest - earliest > _SECOND:
        middle = earliest + (latest - earliest) // (2 * _SECOND) * _SECOND
        if _shown(middle, zone) < wall:
            earliest = middle
        else:
            latest = middle
    return latest


def calendar_window(cadence: str, first: date) -> Window:
    """Return the day, week or month that begins on a day, in UTC: only its dates are meaningful.

    Raises:
        ValueError: the cadence is unknown.
    """
    if cadence not in CADENCES:
        raise ValueError(f"no cadence {cadence!r}")
    following = _first_day(cadence, _period(cadence, first) + 1)
    start, end = (datetime.combine(day, time.min, UTC) for day in (first, following))
    return Window(first.isoformat(), start, end, "UTC")


def check_choice(field: str, value: Any, valid: Collection[str]) -> None:
    """Check that the value of a field is one of the valid values.

    Raises:
        ScheduleError: it is not; the message names the field and the valid values.
    """
    if value not in valid:
        there = ", ".join(valid)
        if len(valid) == 1:
            raise ScheduleError(f"{field}: there is no {value!r}, only {there}.")
        raise ScheduleError(f"{field}: {value!r} is none of {there}.{_nearest(value, valid)}")


def _zone(name: Any) -> None:
    if problem := zone_problem(name):
        raise ScheduleError(f"timezone: {problem}")


def _nearest(value: Any, valid: Collection[str]) -> str:
    by_fold = {name.casefold(): name for name in valid}
    near = get_close_matches(str(value).casefold(), by_fold, 1)
    return f" Did you mean {by_fold[near[0]]}?" if near else ""


def _shown(moment: datetime, zone: ZoneInfo) -> datetime:
    """Return the local time of a zone (naive)."""
    return moment.astimezone(zone).replace(tzinfo=None)


# Days, weeks and months are numbered from the year 1. A day that a zone skipped when it crossed the date line
# has a number but no duration, and so neither a run nor a window.


def _period(cadence: str, day: date) -> int:
    if cadence == "monthly":
        return day.year * 12 + day.month - 1
    return day.toordinal() if cadence == "daily" else (day.toordinal() - 1) // 7


def _first_day(cadence: str, period: int) -> date:
    if cadence == "monthly":
        return date(period // 12, period % 12 + 1, 1)
    return date.fromordinal(period if cadence == "daily" else period * 7 + 1)


def _ends(schedule: Schedule, period: int) -> tuple[datetime, datetime]:
    """Return the start and the exclusive end of a period (UTC)."""
    days = (_first_day(schedule.cadence, number) for number in (period, period + 1))
    start, end = (first_moment(datetime.combine(day, time.min), schedule.zone) for day in days)
    return start, end


def _is_real(schedule: Schedule, period: int) -> bool:
    if schedule.cadence != "daily":
        return True
    start, end = _ends(schedule, period)
    return start < end


def _run(schedule: Schedule, period: int) -> datetime:
    """Return the time of the run in a period (UTC)."""
    day = _first_day(schedule.cadence, period)
    if schedule.cadence == "weekly":
        day += timedelta(days=schedule.weekday - 1)
    elif schedule.cadence == "monthly":
        day = day.replace(day=min(schedule.day_of_month, calendar.monthrange(day.year, day.month)[1]))
    return first_moment(datetime.combine(day, time(schedule.hour, schedule.minute)), schedule.zone)


def _runs(schedule: Schedule, after: datetime) -> Iterator[tuple[datetime, int]]:
    """Yield the runs after a time, in order, with their periods."""
    # Starts one period earlier, as a gap may move a run into the next day.
    period = _period(schedule.cadence, after.astimezone(schedule.zone).date()) - 1
    while True:
        at = _run(schedule, period)
        if at > after and _is_real(schedule, period):
            yield at, period
        period += 1


def _newest(schedule: Schedule, until: datetime) -> tuple[datetime, int]:
    """Return the last run up to a time, and its period."""
    # Starts one period later: a clock that is set back at midnight repeats the previous evening.
    period = _period(schedule.cadence, until.astimezone(schedule.zone).date()) + 1
    while (at := _run(schedule, period)) > until or not _is_real(schedule, period):
        period -= 1
    return at, period


def _window_before(schedule: Schedule, period: int) -> Window:
    """Return the window of the period before this one; its ends have the zone's UTC offsets."""
    period -= 1
    while not _is_real(schedule, period):
        period -= 1
    ends = (moment.astimezone(schedule.zone) for moment in _ends(schedule, period))
    # Fixed offsets instead of the zone: Python ignores transitions when it subtracts times of one zone.
    start, end = (moment.replace(tzinfo=timezone(moment.utcoffset() or timedelta())) for moment in ends)
    return Window(_first_day(schedule.cadence, period).isoformat(), start, end, schedule.timezone)
