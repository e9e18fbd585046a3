"""Format times for people: local time in the column's zone, by its pattern."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from export_pipeline.core.columns import Column
from export_pipeline.core.local_time import is_ambiguous, to_local
from export_pipeline.formats.pdf.arrays import booleans, integers, join
from export_pipeline.formats.times import by_parts, format_pattern

_FIRST_INSTANT = -62_135_596_800_000_000
_END_OF_TIME = 253_402_300_800_000_000
"""Start of year 1 and of year 10,000, in microseconds from 1970."""
_LAST = 2**63 - 1
_SECOND = 1_000_000
TO_THE_SECOND = "cut to the second"
_TO_THE_SECOND = "yyyy-MM-dd HH:mm:ss"

Ints = NDArray[np.int64]


def dates(column: Column, values: pa.Array, changed: Counter[str]) -> pa.Array:
    """Return date cells as strings; nulls stay null.

    Cells that lose part of their date are counted in `changed`.
    """
    if not column.pattern:
        return pc.cast(values, pa.string())
    text, cut = format_pattern(values, column.pattern, None)
    if cut:
        changed[f"printed as {column.pattern}"] += cut
    return text


def timestamps(column: Column, values: pa.Array, changed: Counter[str]) -> pa.Array:
    """Return timestamp cells as strings, to the second or by the pattern; nulls stay null.

    Seconds are cut, never rounded: the last microsecond of a year stays in it.

    An ambiguous local time is printed with its offset from UTC. A value outside the calendar is printed as
    Infinity or as its number. Cells that lose part of their time are counted in `changed`.
    """
    instants = pc.cast(values, pa.timestamp("us", tz=values.type.tz), safe=False)
    micros = np.asarray(pc.fill_null(pc.cast(instants, pa.int64()), 0))
    dated = (micros >= _FIRST_INSTANT) & (micros < _END_OF_TIME)
    sound = pc.if_else(booleans(dated), pc.cast(instants, pa.int64()), pa.scalar(None, pa.int64()))
    zone = column.zone if values.type.tz else None
    if zone in (None, "UTC"):
        wall = pc.cast(sound, pa.timestamp("us"))
    else:
        wall = to_local(pc.cast(sound, pa.timestamp("us", tz="UTC")), zone)
    if column.pattern:
        text, cut = format_pattern(wall, column.pattern, None)
        if cut:
            changed[f"printed as {column.pattern}"] += cut
    else:
        text = by_parts(wall, _TO_THE_SECOND)
        fine = int(np.count_nonzero(np.asarray(pc.fill_null(pc.cast(wall, pa.int64()), 0)) % _SECOND))
        if fine:
            changed[TO_THE_SECOND] += fine
    if zone not in (None, "UTC"):
        twice = pc.fill_null(is_ambiguous(wall, zone), False)
        if pc.any(twice).as_py():
            ahead = np.asarray(pc.fill_null(pc.cast(wall, pa.int64()), 0)) - np.where(dated, micros, 0)
            text = pc.if_else(twice, join(text, " ", _offsets(ahead)), text)
    if not dated.all():
        odd = join(pc.cast(integers(micros), pa.string()), " \N{MICRO SIGN}s after 1970")
        odd = pc.if_else(booleans(micros == _LAST), "Infinity", odd)
        odd = pc.if_else(booleans(micros == -_LAST - 1), "-Infinity", odd)
        text = pc.if_else(booleans(dated), text, odd)
    return pc.if_else(values.is_valid(), text, pa.scalar(None, pa.string())) if values.null_count else text


def _offsets(offsets: Ints) -> pa.Array:
    """Format microseconds ahead of UTC as +hh:mm."""
    minutes = np.abs(offsets) // (60 * _SECOND)
    sign = pc.if_else(booleans(offsets < 0), "-", "+")
    hours, rest = (
        pc.utf8_lpad(pc.cast(integers(part), pa.string()), 2, "0") for part in np.divmod(minutes, 60)
    )
    return join(sign, hours, ":", rest)
