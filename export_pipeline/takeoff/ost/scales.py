"""The scale of a page without one, from the quantities of its measurements."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from export_pipeline.core.json_text import to_numpy
from export_pipeline.takeoff import geometry
from export_pipeline.takeoff.ost.conditions import AREA, LINEAR, Conditions

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_INCHES_PER_FOOT = 12.0
_AGREEMENT = 0.01
"""Largest relative difference between the scales of two measurements that agree."""


@dataclass(frozen=True, slots=True)
class Agreed:
    """A scale in pixels per foot, and the number of measurements that agree on it."""

    scale: float
    measurements: int


class ScaleFinder:
    """Collects the scales that follow from measurements on pages without a scale.

    A length in pixels divided by the quantity is a scale, and so is the square root for an area.
    """

    def __init__(self, own: Sequence[float | None], conditions: Conditions) -> None:
        self._missing = np.array([scale is None for scale in own], bool)
        self._conditions = conditions
        many = len(own)
        self._least, self._most = np.full(many, np.inf), np.zeros(many)
        self._largest, self._scale = np.zeros(many), np.zeros(many)
        self._counts = np.zeros(many, np.int64)

    def add(self, batch: pa.RecordBatch) -> None:
        """Add the measurements of a batch that lie on pages without a scale."""
        if not self._missing.any():
            return
        pages, conditions = (
            to_numpy(pc.fill_null(batch[name].cast(pa.int64()), -1), np.int64)
            for name in ("page_index", "condition_index")
        )
        there = (pages >= 0) & (pages < len(self._missing)) & (conditions >= 0)
        there &= conditions < len(self._conditions.types)
        there[there] = self._missing[pages[there]]
        rows = np.flatnonzero(there)
        if not len(rows):
            return
        for page, pixels, scale in self._scales(batch.take(pa.array(rows)), pages[rows], conditions[rows]):
            self._counts[page] += 1
            self._least[page] = min(self._least[page], scale)
            self._most[page] = max(self._most[page], scale)
            if pixels > self._largest[page]:  # the one with the smallest rounding error
                self._largest[page], self._scale[page] = pixels, scale

    def _scales(
        self, batch: pa.RecordBatch, pages: Ints, conditions: Ints
    ) -> Iterator[tuple[int, float, float]]:
        """Yield page, size in pixels, and pixels per foot of each measurement that tells a scale."""
        shapes = geometry.parse(batch["geometry_type"], batch["geometry_data"])
        types, factors = self._conditions.types[conditions], self._conditions.factors[conditions]
        quantities = np.abs(to_numpy(pc.fill_null(batch["quantity"], 0.0), np.float64))
        with np.errstate(all="ignore"):
            lengths, areas = shapes.lengths(), shapes.areas()
            pixels = np.select([types == LINEAR, types == AREA], [lengths, np.sqrt(areas)], 0.0)
            inches = quantities / factors
            inches = np.where(types == AREA, np.sqrt(inches), inches)
            scales = pixels / inches * _INCHES_PER_FOOT
        sound = np.isfinite(scales) & (scales > 0)
        yield from zip(pages[sound].tolist(), pixels[sound].tolist(), scales[sound].tolist(), strict=True)

    def agreed(self) -> dict[int, Agreed]:
        """Return the scale of each page without one on which all its measurements agree, by page index."""
        together = (self._counts > 0) & (self._most <= self._least * (1 + _AGREEMENT))
        return {
            index: Agreed(float(f"{self._scale[index]:.6g}"), int(self._counts[index]))
            for index in np.flatnonzero(together).tolist()
        }
