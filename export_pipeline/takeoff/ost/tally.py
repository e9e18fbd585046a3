"""Count what the file cannot hold or holds differently, while takeoffs are written."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from export_pipeline.formats.base import Rendered
from export_pipeline.takeoff.ost.conditions import CAP, Conditions

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_NOTABLE = 1e-3
"""Relative difference from which there is a warning about a quantity."""


@dataclass(frozen=True, slots=True)
class Left:
    """The rows of a batch that the file lacks.

    Attributes:
        unreadable, unfit, empty: Condition indexes of measurements whose geometry cannot be read, is not of
            its condition's type, or has no size.
        astray: Number of measurements that name no page or condition of the export.
        rounded: Number of counts that are not written as so many takeoffs.
        notes, unverified: Number of notes, and of measurements that nobody has verified.
    """

    unreadable: Ints
    unfit: Ints
    empty: Ints
    astray: int
    rounded: int
    notes: int
    unverified: int


class Tally:
    """Counts the measurements that the file cannot hold, by condition and reason.

    It also adds up the quantities that an importer will compute from the others, to report where they differ
    from the export's total.
    """

    def __init__(self, conditions: Conditions) -> None:
        self._conditions = conditions
        many = len(conditions.names)
        self._unreadable = np.zeros(many, np.int64)
        self._unfit = np.zeros(many, np.int64)
        self._empty = np.zeros(many, np.int64)
        self._astray = self._rounded = self._notes = self._unverified = 0
        self._sizes, self._measured = np.zeros(many), np.zeros(many, np.int64)
        self._unscaled = np.zeros(many, np.int64)

    def add(self, left: Left) -> None:
        """Count what a batch has that the file does not."""
        many = len(self._unfit)
        self._unreadable += np.bincount(left.unreadable, minlength=many)
        self._unfit += np.bincount(left.unfit, minlength=many)
        self._empty += np.bincount(left.empty, minlength=many)
        self._astray += left.astray
        self._rounded += left.rounded
        self._notes += left.notes
        self._unverified += left.unverified

    def add_computed(self, condition: Ints, sizes: Floats, scaled: Bools) -> None:
        """Add takeoffs: condition index, size, and whether on a page with a scale, by row."""
        many = len(self._unfit)
        self._sizes += np.bincount(condition, sizes, minlength=many)
        self._measured += np.bincount(condition, minlength=many)
        self._unscaled += np.bincount(condition[~scaled], minlength=many)

    def report(self, done: Rendered) -> None:
        """Add the counts to the renderer's result."""
        self._report_left(done)
        self._report_computed(done)

    def _report_computed(self, done: Rendered) -> None:
        whole = (self._unreadable + self._unfit + self._unscaled) == 0
        differing = []
        for index in np.flatnonzero(whole & (self._measured > 0)):
            computed, total, unit = self._conditions.computed(int(index), float(self._sizes[index]))
            if not math.isclose(computed, total, rel_tol=_NOTABLE, abs_tol=_NOTABLE):
                name = self._conditions.names[index]
                differing.append(
                    f"Condition {name!r}: from its takeoffs an importer computes {computed:.2f} {unit}, "
                    f"the database says {total:.2f}."
                )
        done.warnings += differing[:CAP]
        if len(differing) > CAP:
            done.warnings.append(f"{len(differing) - CAP} more conditions have such a difference.")

    def _report_left(self, done: Rendered) -> None:
        counts: Counter[tuple[str, str]] = Counter(
            {
                ("geometry unreadable, not in the file", "Geometry"): int(self._unreadable.sum()),
                ("geometry not of its condition's type, not in the file", "Geometry"): int(self._unfit.sum()),
                ("without size or count, not in the file", "Geometry"): int(self._empty.sum()),
                ("no page or condition, not in the file", "Page"): self._astray,
            }
        )
        done.changed += counts
        done.left_out += counts.total()
        unsaid = {
            ("note, not in the file", "Notes"): self._notes,
            ("not verified, not in the file", "Verified"): self._unverified,
            ("not a whole number of pieces, or too many", "Quantity"): self._rounded,
        }
        done.changed += Counter(unsaid)
        if self._notes or self._unverified:
            done.warnings.append(
                f"On-Screen Takeoff has no place for {self._notes} notes and {self._unverified} marks of "
                "measurements that nobody has verified."
            )
        if self._astray:
            done.warnings.append(
                f"{self._astray} measurements are left out: they name no page or condition of the file."
            )
        affected = np.flatnonzero(self._unreadable + self._unfit + self._empty)
        for index in affected[:CAP]:
            reasons = []
            if self._unfit[index]:
                sort = ("linear", "area", "count")[self._conditions.types[index]]
                reasons.append(f"{self._unfit[index]} whose geometry no {sort} condition can hold")
            if self._unreadable[index]:
                reasons.append(f"{self._unreadable[index]} whose geometry cannot be read")
            if self._empty[index]:
                reasons.append(f"{self._empty[index]} without size or count")
            done.warnings.append(
                f"Condition {self._conditions.names[index]!r}: not in the file are {' and '.join(reasons)}; "
                "its total includes them."
            )
        if len(affected) > CAP:
            done.warnings.append(
                f"Measurements of {len(affected) - CAP} more conditions are not in the file for such reasons."
            )
