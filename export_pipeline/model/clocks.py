"""What the clock on the wall shows in a zone, an array at a time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LISTED = 2_145_916_800_000_000
"""2038-01-01 in microseconds: Arrow knows the changes of clocks up to here, but not the rules after it."""
_CYCLE = 146_097 * 86_400_000_000
"""400 years: days, weekdays and so the rules repeat."""
_QUARTER = 900_000_000
"""Clocks change at quarters of an hour."""


def on_the_wall(instants: pa.Array, zone: str) -> pa.Array:
    """Instants (timestamp with any zone) as naive timestamp[us] of a zone's clock; nulls stay null."""
    clock = pc.local_timestamp(instants.cast(pa.timestamp("us", tz=zone)))
    far = pc.fill_null(pc.greater_equal(instants.cast(pa.int64()), _LISTED), False)
    if not pc.any(far).as_py():
        return clock
    micros = instants.filter(far).cast(pa.int64()).to_numpy()
    quarters, which = np.unique(((micros - _LISTED) % _CYCLE + _LISTED) // _QUARTER, return_inverse=True)
    offsets = np.array([_offset(int(quarter), ZoneInfo(zone)) for quarter in quarters], np.int64)
    return pc.replace_with_mask(clock, far, pa.array(micros + offsets[which]).cast(pa.timestamp("us")))


def _offset(quarter: int, zone: ZoneInfo) -> int:
    """Microseconds by which a zone's clock is ahead of UTC at this quarter of an hour after 1970."""
    offset = (_EPOCH + timedelta(microseconds=quarter * _QUARTER)).astimezone(zone).utcoffset()
    return (offset or timedelta()) // timedelta(microseconds=1)
