"""Adding up what was read back from a file."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pyarrow as pa


def added(numbers: Sequence[float]) -> float:
    """The sum, rounded once; infinite or NaN where it is beyond all doubles on the way."""
    try:
        return math.fsum(numbers)
    except (OverflowError, ValueError):
        with np.errstate(over="ignore", invalid="ignore"):
            return float(np.sum(numbers))


def finite_sum(numbers: pa.Array | pa.ChunkedArray) -> float:
    """The sum of the floats that are finite numbers; rounded once, where the machine has wider ones."""
    values = numbers.drop_null().to_numpy()
    with np.errstate(over="ignore", invalid="ignore"):
        total = float(np.sum(values, dtype=np.longdouble))
        if not math.isfinite(total):
            total = float(np.sum(values[np.isfinite(values)], dtype=np.longdouble))
    return total
