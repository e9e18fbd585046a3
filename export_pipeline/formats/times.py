"""Format dates and times, an array at a time: as ISO 8601 or by a column's pattern."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from export_pipeline.core.buffers import build_strings, pack_mask
from export_pipeline.core.local_time import to_local
from export_pipeline.formats import iso_tables

# 0001-01-01 and 9999-12-31T23:59:59.999999 as microseconds.
_FIRST, _LAST = -62_135_596_800_000_000, 253_402_300_799_999_999
_MONTHS = pa.array(
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"], pa.string()
)
_SECOND = 1_000_000
_FINEST = (("ss", _SECOND), ("mm", 60 * _SECOND), ("HH", 3600 * _SECOND), ("dd", 86_400 * _SECOND))
_PARTS = re.compile("(yyyy|MMM|MM|dd|HH|mm|ss)")


def format_iso(array: pa.Array, zone: str | None) -> pa.Array:
    """Format timestamps as ISO 8601 with microseconds; nulls stay null.

    Args:
        array: timestamp, with a zone (UTC instants) or naive.
        zone: None prints no zone, "UTC" a Z, any other IANA zone the local time and its offset, e.g.
            2026-03-29T03:30:00.000000+02:00, with seconds if the zone's offset had them (+00:53:28). A time
            whose local year is outside 1 to 9999 is printed in UTC.
    """
    micros = _naive(array)
    if zone is None or zone == "UTC":
        return _texts(micros, "" if zone is None else "Z", array)
    local = to_local(micros.cast(pa.int64()).cast(pa.timestamp("us", tz="UTC")), zone)
    offsets, which = np.unique((_numbers(local) - _numbers(micros)) // 1_000_000, return_inverse=True)
    offset_texts = pa.array([_offset(int(seconds)) for seconds in offsets], pa.string())
    text = pc.binary_join_element_wise(_texts(local, "", array), offset_texts.take(pa.array(which)), "")
    outside = (_numbers(local) < _FIRST) | (_numbers(local) > _LAST)
    return pc.if_else(pack_mask(outside), _texts(micros, "Z", array), text) if outside.any() else text


def format_iso_days(array: pa.Array) -> pa.Array:
    """Format dates as ISO 8601; nulls stay null."""
    days = array.cast(pa.date32())
    numbers = pc.fill_null(days.view(pa.int32()), 0).to_numpy()
    indexed = iso_tables.days(numbers)
    if indexed is None:
        return days.cast(pa.string())
    return build_strings(indexed, np.arange(len(array) + 1, dtype=np.int32) * np.int32(10), array)


def format_pattern(array: pa.Array, pattern: str, zone: str | None) -> tuple[pa.Array, int]:
    """Format dates or timestamps by a column's pattern (see `Column`), in a zone; nulls stay null.

    Returns:
        The strings, and the number of cells that they do not show in full.
    """
    if pa.types.is_timestamp(array.type) and array.type.tz and zone not in (None, "UTC"):
        local = to_local(array, zone)
    else:
        local = array.cast(pa.timestamp("us"))
    return by_parts(local, pattern), _cut(local, pattern)


def by_parts(local: pa.Array, pattern: str) -> pa.Array:
    """Format naive timestamps by a pattern; nulls stay null."""
    pieces: list[pa.Array | str] = []
    for piece in _PARTS.split(pattern):
        match piece:
            case "yyyy":
                pieces.append(_pad(pc.year(local), 4))
            case "MMM":
                pieces.append(_MONTHS.take(pc.subtract(pc.month(local), 1)))
            case "MM":
                pieces.append(_pad(pc.month(local), 2))
            case "dd":
                pieces.append(_pad(pc.day(local), 2))
            case "HH":
                pieces.append(_pad(pc.hour(local), 2))
            case "mm":
                pieces.append(_pad(pc.minute(local), 2))
            case "ss":
                pieces.append(_pad(pc.second(local), 2))
            case _ if piece:
                pieces.append(piece)
    nothing = pc.if_else(local.is_valid(), "", pa.scalar(None, pa.string()))
    return pc.binary_join_element_wise(*pieces, nothing, "")


def _cut(local: pa.Array, pattern: str) -> int:
    """Return how many of these naive timestamps a pattern does not show in full."""
    if not ("yyyy" in pattern and "MM" in pattern and "dd" in pattern):
        return int(len(local) - local.null_count)
    finest = next(unit for part, unit in _FINEST if part in pattern)
    return int(np.count_nonzero(_numbers(_naive(local)) % finest))


def _naive(array: pa.Array) -> pa.Array:
    """Return a naive timestamp without nulls, which Arrow prints without a zone lookup."""
    micros = array.cast(pa.timestamp("us", tz=array.type.tz)).view(pa.int64())
    return pc.fill_null(micros, 0).view(pa.timestamp("us"))


def _numbers(naive: pa.Array) -> np.ndarray:
    buffer = naive.buffers()[1]
    if buffer is None:
        return np.zeros(0, np.int64)
    return np.frombuffer(buffer, np.int64)[naive.offset : naive.offset + len(naive)]


def _texts(naive: pa.Array, end: str, like: pa.Array) -> pa.Array:
    """Format naive timestamps with a T in the middle and a suffix; nulls are taken from another array."""
    texts = iso_tables.moments(_numbers(naive), end)
    if texts is not None:
        width = len(texts) // len(naive)
        return build_strings(texts, np.arange(len(naive) + 1, dtype=np.int32) * np.int32(width), like)
    text = pc.replace_substring(naive.cast(pa.string()), " ", "T", max_replacements=1)
    text = pc.binary_join_element_wise(text, end, "")
    return pc.if_else(like.is_valid(), text, pa.scalar(None, pa.string()))


def _offset(seconds: int) -> str:
    hours, rest = divmod(abs(seconds), 3600)
    minutes, rest = divmod(rest, 60)
    sign = "-" if seconds < 0 else "+"
    return f"{sign}{hours:02}:{minutes:02}" + (f":{rest:02}" if rest else "")


def _pad(numbers: pa.Array, width: int) -> pa.Array:
    return pc.utf8_lpad(numbers.cast(pa.string()), width, "0")
