"""A second opinion on schedules, from every minute of two years on each zone's clock."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from export_pipeline.core.windows import Window
from export_pipeline.schedules.due_times import Due, Schedule

DAY = timedelta(days=1)
YEARS = {  # years in which the zone's clock was changed
    "America/New_York": 2025,
    "Europe/Berlin": 2025,
    "Asia/Kolkata": 2025,
    "Asia/Kathmandu": 2025,
    "Australia/Lord_Howe": 2025,  # by half an hour
    "America/Sao_Paulo": 2017,  # at midnight
    "Africa/Cairo": 2024,  # at midnight
    "Asia/Beirut": 2025,  # at midnight
    "Pacific/Apia": 2011,  # no 30 December
    "America/St_Johns": 2010,  # at a minute past midnight
    "Africa/Casablanca": 2025,  # four times in each two years, by the moon
    "Antarctica/Troll": 2025,  # by two hours
}


@dataclass(frozen=True)
class Clock:
    """A zone's clock in each minute of somewhat more than two years."""

    first: datetime
    highest: Any  # so far, datetime64[m]
    shown: Any  # dates that it shows, as a set

    @classmethod
    @cache
    def of(cls, zone: str) -> Clock:
        first = datetime(YEARS[zone] - 1, 10, 1, tzinfo=UTC)
        minutes = pd.date_range(first, periods=60 * 24 * 920, freq="min").tz_convert(zone)
        wall = minutes.tz_localize(None).to_numpy().astype("datetime64[m]")
        return cls(first, np.maximum.accumulate(wall), set(np.unique(wall.astype("datetime64[D]")).tolist()))

    def first_at(self, wall: datetime) -> datetime:
        """The first minute in which the clock shows this time or a later one."""
        index = int(np.searchsorted(self.highest, np.datetime64(wall, "m")))
        return self.first + timedelta(minutes=index)


@cache
def windows(zone: str, cadence: str) -> list[tuple[date, Window]]:
    """The days, weeks or months of more than two years, each with the first day after it."""
    clock, year = Clock.of(zone), YEARS[zone]
    days = [date(year - 1, 11, 1) + number * DAY for number in range(800)]
    begins = {
        "daily": lambda day: day in clock.shown,
        "weekly": lambda day: day.weekday() == 0,
        "monthly": lambda day: day.day == 1,
    }[cadence]
    firsts = [(day, clock.first_at(datetime.combine(day, time.min))) for day in days if begins(day)]
    return [
        (following, Window(day.isoformat(), start, end))
        for (day, start), (following, end) in pairwise(firsts)
        if following.year >= year
    ]


def expected(schedule: Schedule) -> list[Due]:
    """Every run of two years, told from what the zone's clock shows."""
    clock = Clock.of(schedule.timezone)
    runs = []
    for day, window in windows(schedule.timezone, schedule.cadence):
        if schedule.cadence == "weekly":
            day += (schedule.weekday - 1) * DAY
        elif schedule.cadence == "monthly":
            while day.day != schedule.day_of_month and (day + DAY).month == day.month:
                day += DAY
        at = clock.first_at(datetime.combine(day, time(schedule.hour, schedule.minute)))
        runs.append(Due(at, window, window.name))
    return runs
