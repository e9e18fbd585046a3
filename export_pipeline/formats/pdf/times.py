"""Dates and times as people read them: in their column's zone, by its pattern."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from export_pipeline.formats.pdf.arrays import booleans, integers, join
from export_pipeline.model.columns import Column

_FIRST_INSTANT = -62_135_596_800_000_000
_END_OF_TIME = 253_402_300_800_000_000
"""Year 1 and year 10,000 in microseconds from 1970."""
_LAST = 2**63 - 1
_SECOND = 1_000_000
_DAY = 86_400 * _SECOND

_FIELDS = re.compile("yyyy|MMM|MM|dd|HH|mm|ss")
_FINEST = (("ss", _SECOND), ("mm", 60 * _SECOND), ("HH", 3600 * _SECOND), ("dd", _DAY))
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]

Ints = NDArray[np.int64]


def dates(column: Column, values: pa.Array) -> pa.Array:
    """The text of date32 cells; nulls stay."""
    if not column.pattern:
        return pc.cast(values, pa.string())
    days = np.asarray(pc.fill_null(pc.cast(pc.cast(values, pa.date32()), pa.int32()), 0))
    return _with_nulls(_patterned(days * np.int64(_DAY), column.pattern), values)


def timestamps(column: Column, values: pa.Array, changed: Counter[str]) -> pa.Array:
    """The text of timestamp cells, to the minute unless the pattern says otherwise; nulls stay.

    In the hour that a clock shows twice the offset from UTC is printed too. What no calendar has is
    printed as Infinity or as its number. Cells that lose a part of their time are counted in `changed`.
    """
    instants = pc.cast(values, pa.timestamp("us", tz=values.type.tz), safe=False)
    micros = np.asarray(pc.fill_null(pc.cast(instants, pa.int64()), 0))
    dated = (micros >= _FIRST_INSTANT) & (micros < _END_OF_TIME)
    sound = np.where(dated, micros, 0)
    zone = column.zone if values.type.tz else None
    wall = sound if zone in (None, "UTC") else _local(sound, zone)
    pattern = column.pattern or "yyyy-MM-dd HH:mm"
    text = _patterned(wall, pattern)
    if wall is not sound:
        twice = _shown_twice(wall, zone)
        if twice.any():
            text = pc.if_else(booleans(twice), join(text, " ", _offsets(wall - sound)), text)
    finest = next((unit for field, unit in _FINEST if field in pattern), 0)
    lossy = dated & (wall % finest != 0 if finest else True) & np.asarray(values.is_valid())
    if lossy.any():
        reason = f"printed as {column.pattern}" if column.pattern else "printed to the minute"
        changed[reason] += int(lossy.sum())
    if not dated.all():
        odd = join(pc.cast(integers(micros), pa.string()), " \N{MICRO SIGN}s after 1970")
        odd = pc.if_else(booleans(micros == _LAST), "Infinity", odd)
        odd = pc.if_else(booleans(micros == -_LAST - 1), "-Infinity", odd)
        text = pc.if_else(booleans(dated), text, odd)
    return _with_nulls(text, values)


def _with_nulls(text: pa.Array, values: pa.Array) -> pa.Array:
    return pc.if_else(values.is_valid(), text, pa.scalar(None, pa.string())) if values.null_count else text


def _local(instants: Ints, zone: str | None) -> Ints:
    """What a clock on the wall shows, as microseconds from its 1970."""
    local = pc.local_timestamp(pc.cast(integers(instants), pa.timestamp("us", tz=zone)))
    return np.asarray(pc.cast(local, pa.int64()))


def _shown_twice(wall: Ints, zone: str | None) -> NDArray[np.bool_]:
    """Whether the clock shows this time twice, because it is set back."""
    local = pc.cast(integers(wall), pa.timestamp("us"))
    first, last = (
        pc.cast(pc.assume_timezone(local, zone, ambiguous=which), pa.int64())
        for which in ("earliest", "latest")
    )
    twice: NDArray[np.bool_] = np.asarray(first) != np.asarray(last)
    return twice


def _offsets(offsets: Ints) -> pa.Array:
    """Microseconds ahead of UTC as +hh:mm."""
    minutes = np.abs(offsets) // (60 * _SECOND)
    sign = pc.if_else(booleans(offsets < 0), "-", "+")
    return join(sign, _padded(minutes // 60, 2), ":", _padded(minutes % 60, 2))


def _patterned(wall: Ints, pattern: str) -> pa.Array:
    """Microseconds from 1970 on the wall, printed by a pattern."""
    days, rest = np.divmod(wall, _DAY)
    seconds = rest // _SECOND
    year, month, day = _civil(days)
    pieces: list[pa.Array | str] = []
    at = 0
    for match in _FIELDS.finditer(pattern):
        pieces.append(pattern[at : match.start()])
        at = match.end()
        match match[0]:
            case "yyyy":
                pieces.append(_padded(year, 4))
            case "MMM":
                pieces.append(pa.array(_MONTHS, pa.string()).take(integers(month - 1)))
            case "MM":
                pieces.append(_padded(month, 2))
            case "dd":
                pieces.append(_padded(day, 2))
            case "HH":
                pieces.append(_padded(seconds // 3600, 2))
            case "mm":
                pieces.append(_padded(seconds // 60 % 60, 2))
            case "ss":
                pieces.append(_padded(seconds % 60, 2))
    pieces.append(pattern[at:])
    return join(pa.repeat("", wall.size), *pieces)


def _padded(values: Ints, width: int) -> pa.Array:
    """Numbers with zeros before them; each different number is printed once."""
    low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
    if high - low > 10_000:
        return pc.utf8_lpad(pc.cast(integers(values), pa.string()), width, "0")
    words = pa.array([f"{number:0{width}d}" for number in range(low, high + 1)], pa.string())
    return words.take(integers(values - low))


def _civil(days: Ints) -> tuple[Ints, Ints, Ints]:
    """Year, month and day of days from 1970 in the Gregorian calendar.

    Years are counted from March, so that a leap day is the last of its year, in cycles of 400 years.
    """
    cycle, day = np.divmod(days + 719_468, 146_097)
    year = (day - day // 1_460 + day // 36_524 - day // 146_096) // 365
    day = day - (365 * year + year // 4 - year // 100)
    month = (5 * day + 2) // 153
    return (
        400 * cycle + year + (month >= 10),
        np.where(month < 10, month + 3, month - 9),
        day - (153 * month + 2) // 5 + 1,
    )
