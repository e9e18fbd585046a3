"""Format dates and times as ISO 8601 by table look-up: a third of the time that Arrow's formatter takes."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from export_pipeline.core.buffers import Bytes, bytes_of

_FIRST, _LAST = -25_567, 47_482  # the days from 1900 to 2100, counted from 1970
_SECOND, _DAY = 1_000_000, 86_400
_MOMENT = np.dtype(
    {
        "names": ["day", "T", "clock", "point", "milli", "micro"],
        "formats": ["S10", "S1", "u8", "S1", "S3", "S3"],  # eight bytes as a number: faster to copy
        "offsets": [0, 10, 11, 19, 20, 23],
    }
)


def days(numbers: npt.NDArray[np.int32]) -> Bytes | None:
    """Format days since 1970 as 2026-03-29, ten bytes each; return None if one is outside 1900 to 2100."""
    if not len(numbers) or numbers.min() < _FIRST or numbers.max() > _LAST:
        return None
    return _days()[numbers - _FIRST].view(np.uint8)


def moments(micros: npt.NDArray[np.int64], end: str) -> Bytes | None:
    """Format microseconds since 1970 as 2026-03-29T03:30:00.000000 plus a suffix, all of equal length;
    return None if one is outside the years 1900 to 2100.
    """
    seconds = micros // _SECOND
    day = seconds // _DAY
    if not len(day) or day.min() < _FIRST or day.max() > _LAST:
        return None
    fraction = micros - seconds * _SECOND
    kind = np.dtype([("moment", _MOMENT), ("end", f"S{len(end)}")] if end else [("moment", _MOMENT)])
    made = np.empty(len(micros), kind)
    moment = made["moment"]
    moment["day"] = _days()[day - _FIRST]
    moment["clock"] = _clocks()[seconds - day * _DAY]
    moment["T"], moment["point"] = b"T", b"."
    if fraction.any():
        milli = fraction // 1000
        moment["milli"] = _thousands()[milli]
        moment["micro"] = _thousands()[fraction - milli * 1000]
    else:
        moment["milli"] = moment["micro"] = b"000"
    if end:
        made["end"] = end.encode()
    return made.view(np.uint8)


@cache
def _days() -> npt.NDArray[np.bytes_]:
    numbers = pa.array(np.arange(_FIRST, _LAST + 1, dtype=np.int32))
    return bytes_of(numbers.cast(pa.date32()).cast(pa.string())).copy().view("S10")


@cache
def _clocks() -> npt.NDArray[np.uint64]:
    two = np.array([f"{n:02}".encode() for n in range(60)]).view(np.uint8).reshape(60, 2)
    texts = np.full((24, 60, 60, 8), ord(":"), np.uint8)
    texts[..., 0:2], texts[..., 3:5], texts[..., 6:8] = two[:24, None, None], two[:, None], two
    return texts.view(np.uint64).reshape(_DAY)


@cache
def _thousands() -> npt.NDArray[np.bytes_]:
    return np.array([f"{n:03}".encode() for n in range(1000)])
