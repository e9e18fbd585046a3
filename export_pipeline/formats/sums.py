"""Add up numbers read back from a file."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pyarrow as pa


def add_parts(numbers: Sequence[float]) -> float:
    """Return the sum, rounded once; infinite or NaN if an intermediate sum overflows a double."""
    try:
        return math.fsum(numbers)
    except (OverflowError, ValueError):
        with np.errstate(over="ignore", invalid="ignore"):
            return float(np.sum(numbers))


def sum_finite(numbers: pa.Array | pa.ChunkedArray) -> float:
    """Return the sum of the finite floats; rounded once if the machine has wider floats."""
    values = numbers.drop_null().to_numpy()
    with np.errstate(over="ignore", invalid="ignore"):
        total = float(np.sum(values, dtype=np.longdouble))
        if not math.isfinite(total):
            total = float(np.sum(values[np.isfinite(values)], dtype=np.longdouble))
    return total
