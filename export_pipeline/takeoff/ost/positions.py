"""Format coordinates as position strings, thousands at a time."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from export_pipeline.core.buffers import build_strings

END = "#xa;"
"""The rest of the entity that ends a position, after its "&"."""


def positions(values: npt.NDArray[np.float64], offsets: npt.NDArray[np.int64]) -> pa.Array:
    """Return positions: coordinates joined by ";", in shortest round-trip form.

    Args:
        values: Finite, less than 1e16.
        offsets: int64, one more than there are positions; the i-th has the values of `offsets[i]:offsets[i
            + 1]`, at least one.

    Returns:
        string by position, still without `END`: its last character is the & that begins the entity.
    """
    if not len(values):
        return pa.array([], pa.string())
    # Adding zero turns -0.0 into 0.0.
    text = orjson.dumps(values + 0.0, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1]
    if b"e" in text:
        text = b",".join(_plain(number) if b"e" in number else number for number in text.split(b","))
    data = np.frombuffer(text + b",", np.uint8)
    ends = np.flatnonzero(data == ord(","))
    whole = values == np.rint(values)
    points = ends[whole] - len(".0")
    kept = np.ones(len(data), bool)
    kept[points] = kept[points + 1] = False
    data = data[kept]
    ends -= len(".0") * np.cumsum(whole)
    data[ends] = ord(";")
    lasts = ends[offsets[1:] - 1]
    data[lasts] = ord("&")
    return build_strings(data, np.append(0, lasts + 1).astype(np.int32))


def _plain(number: bytes) -> bytes:
    return format(Decimal(number.decode()), "f").encode()
