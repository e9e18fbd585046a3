"""Cron lines, by the rules of Debian's cron: their check, and the times at which they run."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise, takewhile
from typing import Any
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from export_pipeline.jobs.errors import ScheduleError

_FIELDS = 5
_MAX_LENGTH = 200
_MIN_GAP_MINUTES = 5
_SECOND = timedelta(seconds=1)


def check_cron(line: Any, zone: ZoneInfo) -> None:
    """Check that a value is a cron line of five fields that runs, and at most every five minutes.

    Raises:
        ScheduleError: it is not.
    """
    if not isinstance(line, str) or not line.strip():
        raise ScheduleError("cron: it is missing; write a line of five fields, e.g. `0 7 * * 1-5`.")
    if len(line) > _MAX_LENGTH:
        raise ScheduleError(f"cron: it is longer than {_MAX_LENGTH} characters.")
    if len(line.split()) != _FIELDS:
        raise ScheduleError(
            f"cron: {line!r} has not the five fields minute, hour, day of month, month, day of week."
        )
    try:
        minutes = sorted(CronSim(line, datetime.now(zone)).minutes)
    except (CronSimError, ValueError) as error:
        raise ScheduleError(f"cron: {line!r} is not a cron line: {error}.") from None
    if next(cron_times(line, zone, datetime.now(UTC)), None) is None:
        raise ScheduleError(f"cron: {line!r} names no day that comes within 50 years.")
    gaps = [after - before for before, after in pairwise([*minutes, minutes[0] + 60])]
    if min(gaps) < _MIN_GAP_MINUTES:
        raise ScheduleError(
            f"cron: {line!r} runs again after {min(gaps)} minutes; at least {_MIN_GAP_MINUTES} are needed."
        )


def cron_times(line: str, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
    """Yield the times after a time at which a cron line runs (UTC)."""
    for local in CronSim(line, after.astimezone(zone)):
        # In an hour that the clock repeats, the iteration may begin in its first pass.
        if (at := local.astimezone(UTC)) > after:
            yield at


def last_cron_time(line: str, zone: ZoneInfo, until: datetime) -> datetime | None:
    """Return the last time up to a time at which a cron line runs; None if there was none within 50 years."""
    # Backwards some zones get other times than forwards, so the search back only finds a place to start from.
    back = list(islice(CronSim(line, (until + _SECOND).astimezone(zone), reverse=True), 3))
    if not back:
        return None
    ahead = cron_times(line, zone, back[-1].astimezone(UTC) - _SECOND)
    return max(takewhile(lambda at: at <= until, ahead), default=None)
