"""The windows of jobs that schedules and cadences have requested, and their periods in words."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from export_pipeline.core.windows import Window
from export_pipeline.jobs.records import Job
from export_pipeline.schedules.due_times import calendar_window, is_moment

_MAX_NAME_LENGTH = 100
_DAY = timedelta(days=1)


def window_of(options: Mapping[str, Any]) -> Window | None:
    """Return the window that a schedule put into a request's options; None if there is none.

    Raises:
        ValueError, TypeError, KeyError, OverflowError: the value is not a window, as somebody else set it.
    """
    window_option = options.get("window")
    if window_option is None:
        return None
    start, end = (datetime.fromisoformat(window_option[end]) for end in ("start", "end"))
    name = window_option["name"]
    if not isinstance(name, str) or not 0 < len(name) <= _MAX_NAME_LENGTH or not name.isprintable():
        raise ValueError("its name is not a short string")
    if not start < end:
        raise ValueError("it does not end after it begins")
    _ = start - _DAY, end + _DAY  # raises unless the times can be represented in every zone
    zone = window_option.get("timezone")
    if zone is not None:
        ZoneInfo(zone)
    return Window(name, start, end, zone)


def period_of(job: Job) -> str | None:
    """Return the window of a job as a readable period; None if it exports every row.

    A window key that cannot be parsed is returned as it is.
    """
    with suppress(KeyError, TypeError, ValueError, OverflowError):
        if window := window_of(job.options):
            return window.period()
    cadence, _, name = (run_key(job) or "").partition("/")
    if is_moment(name):
        return None
    with suppress(ValueError):
        return calendar_window(cadence, date.fromisoformat(name)).period()
    return job.window_key


def run_key(job: Job) -> str | None:
    """Return the part of a job's window key that all formats of a schedule's run have in common."""
    return job.window_key and "/".join(job.window_key.split("/")[:2])
