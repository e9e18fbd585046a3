"""Times as people read them: on the clock of their column's zone, by its pattern."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from export_pipeline.formats.pdf.arrays import booleans, integers, join
from export_pipeline.formats.times import patterned
from export_pipeline.model.columns import Column

_FIRST_INSTANT = -62_135_596_800_000_000
_END_OF_TIME = 253_402_300_800_000_000
"""Year 1 and year 10,000 in microseconds from 1970."""
_END_OF_TABLES = 2_145_916_800_000_000
"""2038: Arrow knows the changes of the clocks one by one up to here, and no rule for those after it."""
_LAST = 2**63 - 1
_SECOND = 1_000_000
_QUARTER = 900 * _SECOND
"""Clocks are changed at a full quarter of an hour."""
_CYCLE = 146_097 * 86_400 * _SECOND
"""400 years, after which the calendar repeats itself, weekdays and all."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_TO_THE_MINUTE = "yyyy-MM-dd HH:mm"
_FINEST = (("ss", _SECOND), ("mm", 60 * _SECOND), ("HH", 3600 * _SECOND), ("dd", 86_400 * _SECOND))

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


def dates(column: Column, values: pa.Array) -> pa.Array:
    """The text of date cells; nulls stay."""
    if not column.pattern:
        return pc.cast(values, pa.string())
    return patterned(values, column.pattern, None)


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
    wall, twice = (sound, None) if zone in (None, "UTC") else _on_the_wall(sound, zone)
    text = patterned(_naive(wall), column.pattern or _TO_THE_MINUTE, None)
    if twice is not None and twice.any():
        text = pc.if_else(booleans(twice), join(text, " ", _offsets(wall - sound)), text)
    finest = next((unit for field, unit in _FINEST if field in (column.pattern or _TO_THE_MINUTE)), 0)
    lossy = dated & (wall % finest != 0 if finest else True) & np.asarray(values.is_valid())
    if lossy.any():
        reason = f"printed as {column.pattern}" if column.pattern else "printed to the minute"
        changed[reason] += int(lossy.sum())
    if not dated.all():
        odd = join(pc.cast(integers(micros), pa.string()), " \N{MICRO SIGN}s after 1970")
        odd = pc.if_else(booleans(micros == _LAST), "Infinity", odd)
        odd = pc.if_else(booleans(micros == -_LAST - 1), "-Infinity", odd)
        text = pc.if_else(booleans(dated), text, odd)
    return pc.if_else(values.is_valid(), text, pa.scalar(None, pa.string())) if values.null_count else text


def _naive(micros: Ints) -> pa.Array:
    return pc.cast(integers(micros), pa.timestamp("us"))


def _on_the_wall(instants: Ints, zone: str) -> tuple[Ints, Flags]:
    """What a clock on the wall shows, as microseconds from its 1970, and whether it shows that twice."""
    far = instants >= _END_OF_TABLES
    near = np.where(far, 0, instants)
    wall = np.array(
        pc.cast(pc.local_timestamp(pc.cast(integers(near), pa.timestamp("us", tz=zone))), pa.int64())
    )
    first, last = (
        pc.cast(pc.assume_timezone(_naive(wall), zone, ambiguous=which), pa.int64())
        for which in ("earliest", "latest")
    )
    twice: Flags = np.asarray(first) != np.asarray(last)
    if far.any():
        wall[far], twice[far] = _by_rule(instants[far], ZoneInfo(zone))
    return wall, twice


def _by_rule(instants: Ints, zone: ZoneInfo) -> tuple[Ints, Flags]:
    """The same for times after the tables of changes, by the zone's rule; each quarter is asked for once."""
    cycles = (instants - _END_OF_TABLES) // _CYCLE
    quarters, which = np.unique((instants - cycles * _CYCLE) // _QUARTER, return_inverse=True)
    offsets = np.zeros(quarters.size, np.int64)
    twice = np.zeros(quarters.size, bool)
    for place, quarter in enumerate(quarters.tolist()):
        local = (_EPOCH + timedelta(microseconds=quarter * _QUARTER)).astimezone(zone)
        offsets[place] = (local.utcoffset() or timedelta()) // timedelta(microseconds=1)
        twice[place] = local.replace(fold=0).utcoffset() != local.replace(fold=1).utcoffset()
    return instants + offsets[which], twice[which]


def _offsets(offsets: Ints) -> pa.Array:
    """Microseconds ahead of UTC as +hh:mm."""
    minutes = np.abs(offsets) // (60 * _SECOND)
    sign = pc.if_else(booleans(offsets < 0), "-", "+")
    hours, rest = (
        pc.utf8_lpad(pc.cast(integers(part), pa.string()), 2, "0") for part in np.divmod(minutes, 60)
    )
    return join(sign, hours, ":", rest)
