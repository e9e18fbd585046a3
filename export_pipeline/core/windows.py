"""Windows: the range of time that an export covers."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from zoneinfo import ZoneInfo

_INSTANT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Window:
    """A half-open range of time `[start, end)`; both ends have a zone.

    Attributes:
        name: Its partition key, e.g. "2026-11-20"; part of the key of its files.
        start: The first moment in it.
        end: The first moment after it.
        timezone: IANA zone in which people read its days; None for the offsets of the ends.
    """

    name: str
    start: datetime
    end: datetime
    timezone: str | None = field(default=None, compare=False)

    @property
    def days(self) -> tuple[date, date] | None:
        """The first and the last day; None if the window is not made of whole days."""
        begins, ends = self._local
        if not (_begins_day(self.start, begins.tzinfo) and _begins_day(self.end, ends.tzinfo)):
            return None
        return begins.date(), (self.end.astimezone(UTC) - _INSTANT).astimezone(ends.tzinfo).date()

    @property
    def previous(self) -> Window | None:
        """The period just before, of as many months, days or hours; None if it would begin before year 1.

        Before whole months come as many months, before other whole days as many days.
        """
        begins = self._local[0]
        try:
            if self.days is None:
                start = self.start - (self.end - self.start)
            else:
                start = datetime.combine(_day_before(*self.days), time(), begins.tzinfo)
            name = f"{start:%Y-%m-%d}"
        except (OverflowError, ValueError):
            return None
        return Window(name, start, self.start, self.timezone)

    @property
    def file_part(self) -> str:
        """The window in a file name: 20261120, 20261005-20261011, or 20261120T0600-20261120T1800.

        Times have seconds and UTC offsets where they need them to differ from those of other windows.
        """
        if self.days:
            return self.formatted("%Y%m%d")
        seconds = "%S" if self._has_seconds else ""
        offset = "%z" if any(map(_is_ambiguous, self._local)) else ""
        return self.formatted(f"%Y%m%dT%H%M{seconds}{offset}")

    def formatted(self, form: str) -> str:
        """Format the first and the last day with `strftime`, joined by "-" if they differ.

        A window that is not made of whole days is shown by its two ends.
        """
        first, last = (one.strftime(form) for one in self.days or self._local)
        return first if first == last else f"{first}-{last}"

    def period(self, *, as_of: bool = False) -> str:
        """Return the window in words, e.g. "2026-10-05 to 2026-10-11".

        Args:
            as_of: The export holds the rows that existed by the window's end, however old they are.
        """
        unit = "seconds" if self._has_seconds else "minutes"
        first, last = self.days or (one.isoformat(" ", unit) for one in self._local)
        if as_of:
            return f"rows that existed by {'the end of ' if self.days else ''}{last}"
        return str(first) if first == last else f"{first} to {last}"

    @property
    def _has_seconds(self) -> bool:
        return any(one.second or one.microsecond for one in self._local)

    @property
    def _local(self) -> tuple[datetime, datetime]:
        """Both ends in the local time of the window's zone."""
        if self.timezone is None:
            return self.start, self.end
        zone = ZoneInfo(self.timezone)
        return self.start.astimezone(zone), self.end.astimezone(zone)


def _day_before(first: date, last: date) -> date:
    """Return the first day of the period before these days."""
    after = last + timedelta(days=1)
    if first.day != 1 or after.day != 1:
        return first - (after - first)
    months = 12 * (after.year - first.year) + after.month - first.month
    year, month = divmod(12 * first.year + first.month - 1 - months, 12)
    return date(year, month + 1, 1)


def _is_ambiguous(moment: datetime) -> bool:
    """Return whether a local time occurs twice, as the clock is set back."""
    return moment.replace(fold=0).utcoffset() != moment.replace(fold=1).utcoffset()


def _begins_day(moment: datetime, zone: tzinfo | None) -> bool:
    """Return whether a day begins at a moment: at midnight, or later if the clock skips midnight."""
    before = (moment.astimezone(UTC) - _INSTANT).astimezone(zone)
    return before.date() < moment.astimezone(zone).date()
