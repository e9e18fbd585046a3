"""Due times and windows of schedules. Pure functions: no clock, no database.

A daily, weekly or monthly schedule has one run for each local day, week or month of its zone, at its local
time. The run exports the day, week or month before. For a local time that a transition skips, the run is at
the first moment after the gap. Of an ambiguous time the first occurrence counts. Weeks begin on Monday.

An hourly schedule runs at its minute of each hour and exports the hour before. A schedule with a cron line
runs when the line says (rules of Debian's cron) and exports the time since its last run. Each run has
one window, and the windows of a schedule follow each other without gaps.
"""

from __future__ import annotations

import calendar
import re
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
from export_pipeline.schedules.cron import check_cron, cron_times, last_cron_time
from export_pipeline.time_zones import zone_problem

CADENCES = ("hourly", "daily", "weekly", "monthly", "cron")
CALENDAR_CADENCES = ("daily", "weekly", "monthly")
WINDOWS = ("previous", "none")
"""Rows that a run exports: those of the time before it, or every row as of the run."""

MISFIRES = ("skip", "last", "all")
GRACE = timedelta(minutes=10)
"""A run that starts at most this late is on time, not missed."""

_RANGES = {"hour": (0, 23), "minute": (0, 59), "weekday": (1, 7), "day_of_month": (1, 31)}
_SECOND = timedelta(seconds=1)
_MOMENT = "%Y-%m-%dT%H%MZ"


@dataclass(frozen=True, slots=True)
class Schedule:
    """The times at which a scheduled export runs.

    Attributes:
        cadence: hourly, daily, weekly, monthly or cron.
        hour: Local hour, 0 to 23. Not used by hourly and cron.
        minute: Local minute, 0 to 59. Not used by cron.
        weekday: Day of a weekly schedule, 1 (Monday) to 7 (Sunday).
        day_of_month: Day of a monthly schedule, 1 to 31; the last day in a shorter month.
        timezone: IANA name of the time zone.
        cron: Line of five fields (minute, hour, day of month, month, day of week); only of the cadence cron.
        export_window: `previous` for the rows of the time before a run, `none` for every row.

    Raises:
        ScheduleError: a field is invalid; the message names it and the valid values.
    """

    cadence: str
    hour: int = 0
    minute: int = 0
    weekday: int = 1
    day_of_month: int = 1
    timezone: str = "UTC"
    cron: str | None = None
    export_window: str = "previous"

    def __post_init__(self) -> None:
        check_choice("cadence", self.cadence, CADENCES)
        for name, (least, most) in _RANGES.items():
            value = getattr(self, name)
            if type(value) is not int or not least <= value <= most:
                raise ScheduleError(f"{name}: {value!r} is no whole number from {least} to {most}.")
        _zone(self.timezone)
        check_choice("export_window", self.export_window, WINDOWS)
        if self.cadence == "cron":
            check_cron(self.cron, self.zone)
        elif self.cron is not None:
            raise ScheduleError(f"cron: a {self.cadence} schedule has no cron line; leave it out.")

    @property
    def zone(self) -> ZoneInfo:
        """The time zone."""
        return ZoneInfo(self.timezone)


@dataclass(frozen=True, slots=True)
class Due:
    """A run of a schedule.

    Attributes:
        scheduled_for: Time at which it is due (UTC).
        window: The time before, as calendar days where it is one; named by its first day or moment. Its ends
            have the zone's UTC offsets. None if the run exports every row.
        name: Name of the window, or of the run if it has no window; unique within the schedule.
    """

    scheduled_for: datetime
    window: Window | None
    name: str


def next_run(schedule: Schedule, after: datetime) -> datetime:
    """Return the first run after a time (aware), in UTC."""
    return next(_runs(schedule, after)).scheduled_for


def due(
    schedule: Schedule,
    since: datetime,
    now: datetime,
    misfire: str,
    *,
    grace: timedelta = GRACE,
    limit: int | None = None,
    last_run: datetime | None = None,
) -> list[Due]:
    """Return the runs that are due now, in order.

    Args:
        since: Runs up to this time are already handled (aware).
        now: Runs up to this time are due (aware).
        misfire: Rule for missed runs: `skip` runs none of them, `last` the newest, `all` every one.
        grace: Delay up to which the newest run is on time.
        limit: Maximum number of runs; the oldest are returned.
        last_run: Time of the last run that took place (aware): the window of a cron line begins there,
            whatever its line was then. By default it begins at the time before.
    """
    if misfire == "all":
        come = takewhile(lambda run: run.scheduled_for <= now, _runs(schedule, since, last_run))
        return list(islice(come, limit))
    newest = _newest(schedule, now, last_run)
    if newest is None or newest.scheduled_for <= since or limit == 0:
        return []
    if misfire == "skip" and now - newest.scheduled_for > grace:
        return []
    return [newest]


def due_now(now: datetime) -> Due:
    """Return a run at this moment (aware) that exports every row."""
    now = now.astimezone(UTC)
    return Due(now, None, f"{now:{_MOMENT}}")


def is_moment(name: str) -> bool:
    """Return whether a run is named by the moment at which it began, or at which its window begins."""
    try:
        datetime.strptime(re.split(r"[+_]", name, maxsplit=1)[0], _MOMENT)
    except ValueError:
        return False
    return True


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
    if cadence not in CALENDAR_CADENCES:
        raise ValueError(f"no cadence {cadence!r}")
    following = _first_day(cadence, _period(cadence, first) + 1)
    start, end = (datetime.combine(day, time.min, UTC) for day in (first, following))
    return Window(first.isoformat(), start, end, "UTC")


def ended_windows(schedule: Schedule, first: date, last: date | None, now: datetime) -> Iterator[Window]:
    """Yield the days, weeks or months of a calendar schedule that have ended, in order.

    Args:
        first: Only windows that begin on this day or later.
        last: Only windows that begin on this day or earlier; None for all that have ended.
        now: An aware time.
    """
    if first > now.astimezone(UTC).date():  # none has ended; the last days of the calendar have no end
        return
    period = _period(schedule.cadence, first)
    if _first_day(schedule.cadence, period) < first:
        period += 1
    while True:
        begins, (start, end) = _first_day(schedule.cadence, period), _ends(schedule, period)
        if end > now or (last is not None and begins > last):
            return
        if start < end:
            yield Window(begins.isoformat(), start, end, schedule.timezone)
        period += 1


def check_choice(field: str, value: Any, valid: Collection[str]) -> None:
    """Check that the value of a field is one of the valid values.

    Raises:
        ScheduleError: it is not; the message names the field and the valid values.
    """
    if value not in valid:
        there = ", ".join(valid)
        if len(valid) == 1:
            raise ScheduleError(f"{field}: there is no {value!r}, only {there}.")
        raise ScheduleError(f"{field}: {value!r} is not one of {there}.{_nearest(value, valid)}")


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


def _runs(schedule: Schedule, after: datetime, last_run: datetime | None = None) -> Iterator[Due]:
    """Yield the runs after a time, in order."""
    if line := _cron_line(schedule):
        before = last_run
        for at in cron_times(line, schedule.zone, after):
            yield _cron_due(schedule, line, at, before)
            before = at
        return
    # Starts one period earlier, as a gap may move a run into the next day.
    period = _period(schedule.cadence, after.astimezone(schedule.zone).date()) - 1
    while True:
        at = _run(schedule, period)
        if at > after and _is_real(schedule, period):
            yield _due(schedule, at, period)
        period += 1


def _newest(schedule: Schedule, until: datetime, last_run: datetime | None = None) -> Due | None:
    """Return the last run up to a time; None if there was none within 50 years."""
    if line := _cron_line(schedule):
        last = last_cron_time(line, schedule.zone, until)
        return None if last is None else _cron_due(schedule, line, last, last_run)
    # Starts one period later: a clock that is set back at midnight repeats the previous evening.
    period = _period(schedule.cadence, until.astimezone(schedule.zone).date()) + 1
    while (at := _run(schedule, period)) > until or not _is_real(schedule, period):
        period -= 1
    return _due(schedule, at, period)


def _due(schedule: Schedule, at: datetime, period: int) -> Due:
    if schedule.export_window == "none":
        return due_now(at)
    window = _window_before(schedule, period)
    return Due(at, window, window.name)


def _window_before(schedule: Schedule, period: int) -> Window:
    """Return the window of the period before this one; its ends have the zone's UTC offsets."""
    period -= 1
    while not _is_real(schedule, period):
        period -= 1
    return _window(schedule, _first_day(schedule.cadence, period).isoformat(), *_ends(schedule, period))


def _window(schedule: Schedule, name: str, *ends: datetime) -> Window:
    local = (moment.astimezone(schedule.zone) for moment in ends)
    # Fixed offsets instead of the zone: Python ignores transitions when it subtracts times of one zone.
    start, end = (moment.replace(tzinfo=timezone(moment.utcoffset() or timedelta())) for moment in local)
    return Window(name, start, end, schedule.timezone)


def _cron_line(schedule: Schedule) -> str | None:
    """Return the cron line of a schedule that has no calendar."""
    if schedule.cadence == "hourly":
        return f"{schedule.minute} * * * *"
    return schedule.cron if schedule.cadence == "cron" else None


def _cron_due(schedule: Schedule, line: str, at: datetime, before: datetime | None = None) -> Due:
    """Return the run of a schedule without a calendar; an hourly one exports a whole hour of the clock.

    Args:
        before: The run before it; looked for if it is None or later.
    """
    if schedule.export_window == "none":
        return due_now(at)
    end: datetime | None = at
    if schedule.cadence == "hourly":
        line, before = "0 * * * *", None
        end = last_cron_time(line, schedule.zone, at)
    if before is not None and before >= at:
        before = None
    start = before or (end and last_cron_time(line, schedule.zone, end - _SECOND))
    if start is None or end is None:
        raise ScheduleError(
            f"cron: {line!r} had no run within the last 50 years, so nothing begins its window."
        )
    name = f"{start:{_MOMENT}}"
    if schedule.cadence == "cron":  # another line may have another end
        name = f"{name}_{end:{_MOMENT}}"
    return Due(at, _window(schedule, name, start, end), name)
