"""Conversion of timestamps to a zone's local time, an array at a time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TypeAlias
from zoneinfo import ZoneInfo

from export_pipeline.core.arrow import np, npt, pa, pc

Ints: TypeAlias = "npt.NDArray[np.int64]"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LISTED = 2_145_916_800_000_000
"""2038-01-01 in microseconds: Arrow knows clock changes up to here, but not the rules that apply later."""
_RULED = 4_102_444_800_000_000
"""2100-01-01: Morocco and Gaza list their changes, which follow Ramadan, up to 2087; then rules apply."""
_CYCLE = 146_097 * 86_400_000_000
"""400 years: after this, dates, weekdays and therefore the rules repeat."""
_QUARTER = 900_000_000
"""15 minutes. Clocks change only at quarters of an hour."""


def to_local(instants: pa.Array, zone: str) -> pa.Array:
    """Convert instants (timestamp with any zone) to a zone's local time (naive timestamp[us]).

    Nulls stay null.
    """
    clock = pc.local_timestamp(instants.cast(pa.timestamp("us", tz=zone)))
    far = pc.fill_null(pc.greater_equal(instants.cast(pa.int64()), _LISTED), False)
    if not pc.any(far).as_py():
        return clock
    micros = instants.filter(far).cast(pa.int64()).to_numpy()
    offsets = _by_quarter(micros, lambda moment: _micros(moment.astimezone(ZoneInfo(zone)).utcoffset()))
    return pc.replace_with_mask(clock, far, pa.array(micros + offsets).cast(pa.timestamp("us")))


def is_ambiguous(clock: pa.Array, zone: str) -> pa.Array:
    """Return whether a local time is ambiguous: shown twice because the clock is put back (PEP 495 `fold`).

    Args:
        clock: Local times of the zone (naive timestamp[us], as `to_local` returns them).
        zone: IANA name of the zone.

    Returns:
        bool; null for null.
    """
    far = pc.fill_null(pc.greater_equal(clock.cast(pa.int64()), _LISTED), False)
    near = pc.if_else(far, pa.scalar(0, clock.type), clock) if pc.any(far).as_py() else clock
    first, last = (
        pc.assume_timezone(near, zone, ambiguous=which, nonexistent="earliest").cast(pa.int64())
        for which in ("earliest", "latest")
    )
    twice = pc.not_equal(first, last)
    if near is clock:
        return twice

    def is_back(moment: datetime) -> int:
        here = moment.replace(tzinfo=ZoneInfo(zone))
        return here.utcoffset() != here.replace(fold=1).utcoffset()

    back = _by_quarter(clock.filter(far).cast(pa.int64()).to_numpy(), is_back)
    return pc.replace_with_mask(twice, far, pa.array(back != 0))


def _by_quarter(micros: Ints, fact: Callable[[datetime], int]) -> Ints:
    """Apply a function to times from 2038 on, once per quarter of an hour.

    From 2100 on its result repeats every 400 years.
    """
    alike = np.where(micros < _RULED, micros, (micros - _RULED) % _CYCLE + _RULED)
    quarters, which = np.unique(alike // _QUARTER, return_inverse=True)
    moments = (_EPOCH + timedelta(microseconds=quarter * _QUARTER) for quarter in quarters.tolist())
    facts: Ints = np.array([fact(moment) for moment in moments], np.int64)[which]
    return facts


def _micros(offset: timedelta | None) -> int:
    return (offset or timedelta()) // timedelta(microseconds=1)
