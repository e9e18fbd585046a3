"""Counts and sums of exactly the measurements that are exported, by condition."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

from export_pipeline.core.arrow import np, npt, pa, pc

NAMED = 10
"""Maximum number of conditions named in warnings of one sort; others are only counted."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Statistics of the measurements, by condition.

    Attributes:
        counts: Number of measurements.
        sums: float64: sum of their finite quantities.
        other_units: Number of measurements whose unit differs from their condition's.
        not_finite, without_page: Total number of measurements without a finite quantity, without a page.
    """

    counts: npt.NDArray[np.int64]
    sums: npt.NDArray[np.float64]
    other_units: npt.NDArray[np.int64]
    not_finite: int
    without_page: int

    @staticmethod
    def of(rows: pa.Table, conditions: int) -> Tally:
        """Return the tally of `Places.rows`, which are ordered by condition."""
        condition = rows["condition"].to_numpy()
        quantity = pc.fill_null(rows["quantity"], float("nan")).to_numpy()
        finite = np.isfinite(quantity)
        own_unit = rows["own_unit"].to_numpy()
        return Tally(
            np.bincount(condition, minlength=conditions),
            _exact_sums(condition, np.where(finite, quantity, 0.0), conditions),
            np.bincount(condition[~own_unit], minlength=conditions),
            int((~finite).sum()),
            rows["page"].null_count,
        )

    def warnings(self, conditions: pa.Table) -> Iterator[str]:
        if self.not_finite:
            yield (
                f"{self.not_finite} quantities are not numbers (NaN, infinite or empty); "
                "totals leave them out."
            )
        if self.without_page:
            yield (
                f"{self.without_page} measurements lie on a page that is not part of this project; "
                "their document, page and sheet are left empty."
            )
        odd = np.flatnonzero(self.other_units)
        for position in odd[:NAMED]:
            name, unit = conditions["name"][int(position)], conditions["unit"][int(position)]
            yield (
                f"Condition {name.as_py()!r} adds up {self.other_units[position]} measurements whose unit is "
                f"not its own ({unit.as_py()!r})."
            )
        if len(odd) > NAMED:
            yield f"{len(odd) - NAMED} more conditions hold measurements in a unit that is not theirs."


def _exact_sums(
    condition: npt.NDArray[np.int64], values: npt.NDArray[np.float64], conditions: int
) -> npt.NDArray[np.float64]:
    """Return the sum of each condition's values, rounded once: ten times 0.1 is 1."""
    ends = np.searchsorted(condition, np.arange(conditions + 1))
    runs = itertools.pairwise(ends.tolist())
    return np.array([exact_sum(values[start:stop].tolist()) for start, stop in runs], np.float64)


def exact_sum(values: list[float]) -> float:
    """Return a sum that is rounded once."""
    try:
        return math.fsum(values)
    except OverflowError:
        return sum(values)
