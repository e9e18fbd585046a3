"""Conditions as BidCondition elements: what is measured, in which unit, and how it is drawn."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from export_pipeline.formats.base import Rendered
from export_pipeline.takeoff.ost import markup
from export_pipeline.takeoff.ost.units import Unit, default_unit, find_kind, find_unit

LINEAR, AREA, COUNT = 0, 1, 2

# Results that Quantity1 can ask for.
_LENGTH, _NET_AREA, _VOLUME, _EACH = 1, 11, 21, 23
# By measurement type: Type and Quantity1.
_SHAPES = {
    "linear": (LINEAR, _LENGTH),
    "area": (AREA, _NET_AREA),
    "volume": (AREA, _VOLUME),
    "count": (COUNT, _EACH),
}

_DEFAULT_COLOR = "#3B82F6"
_CIRCLE_SHAPE = 1
_COUNT_SIZE = 12.0
"""Inches: drawn width of a counted item. The application stores no size for it."""

CAP = 50
"""Most warnings of one kind that are written out; the rest is summarized."""


class Conditions:
    """The conditions of one export, and the results of their measurements.

    Attributes:
        types: int8 by condition: LINEAR, AREA or COUNT.
        uids: UIDs by condition, ascending.
        names: Names by condition, never empty.
        factors: float64 by condition: the quantity of one inch, square inch or piece.
        cdn_types: (UID, name) of the condition types used.
    """

    def __init__(
        self, rows: Sequence[Mapping[str, Any]], next_uid: Callable[[], int], done: Rendered
    ) -> None:
        self._rows = rows
        self._done = done
        self.names = [self._name(number, row) for number, row in enumerate(rows, 1)]
        odd: list[str] = []
        kinds = [self._kind(row, name, odd) for row, name in zip(rows, self.names, strict=True)]
        self._kinds: list[str] = [kind for kind, _ in kinds]
        self._units: list[Unit] = [unit for _, unit in kinds]
        done.warnings += odd[:CAP]
        if len(odd) > CAP:
            done.warnings.append(f"{len(odd) - CAP} more conditions have such a measurement type or unit.")
        self.types: npt.NDArray[np.int8] = np.array([_SHAPES[kind][0] for kind in self._kinds], np.int8)
        for row, kind in zip(rows, self._kinds, strict=True):
            if _unfit_length(row.get("thickness")) or (kind == "volume" and _unfit_length(row.get("depth"))):
                done.changed["not a length, not in the file", "Thickness"] += 1
        self.factors: npt.NDArray[np.float64] = np.array(
            [
                (self._thickness(row, kind) if kind == "volume" else 1.0) / unit.inches
                for row, (kind, unit) in zip(rows, kinds, strict=True)
            ],
            np.float64,
        )
        groups = dict.fromkeys(_group(row) for row in rows)
        self._cdn_uids = {name: next_uid() for name in groups} or {"General": next_uid()}
        self.uids = [next_uid() for _ in rows]
        self._total_uids = [next_uid() for _ in rows]

    def computed(self, index: int, size: float) -> tuple[float, float, str]:
        """Return the quantity an importer computes from the takeoffs, the export's total, and their unit.

        Args:
            index: The condition.
            size: Inches of a linear condition, square inches of an area, or pieces.
        """
        total = _finite(self._rows[index].get("total_quantity"))
        return size * float(self.factors[index]), total, self._units[index].name

    @property
    def cdn_types(self) -> list[tuple[int, str]]:
        """(UID, name) of each condition type."""
        return [(uid, name) for name, uid in self._cdn_uids.items()]

    def element(self, index: int, layer_uid: int) -> str:
        """Return the BidCondition with its total, which is in the condition's unit of measure."""
        row, kind = self._rows[index], self._kinds[index]
        shape, result = _SHAPES[kind]
        color = self._color(row)
        size = _COUNT_SIZE if shape == COUNT else 0
        attributes: dict[str, markup.Value] = {
            "UID": self.uids[index],
            "BidUID": 1,
            "BidConditionFolderUID": 0,
            "BidLayerUID": layer_uid,
            "CdnTypeUID": self._cdn_uids[_group(row)],
            "GUID": markup.guid(row.get("id")),
            "RefNo": index + 1,
            "Name": self.names[index],
            "Notes": _notes(row),
            "Type": shape,
            "Shape": _CIRCLE_SHAPE if shape == COUNT else 0,
            "Pattern": 0,
            "ColorLine": color,
            "ColorFill": color,
            "Width": size,
            "Height": 0,
            "Spacing": 0,
            "Thickness": self._thickness(row, kind),
            "Rise": 0,
            "Run": 0,
            "Depth": size,
            "UOM1": self._units[index].code,
            "UOM2": 0,
            "UOM3": 0,
            "RoundUp": 0,
            "RoundQuantity": 0,
            "Quantity1": result,
            "Quantity2": 0,
            "Quantity3": 0,
            "ShowTakeoff": 0 if row.get("is_visible") is False else 1,
            "DisplaySize": 100,
        }
        total: dict[str, markup.Value] = {
            "UID": self._total_uids[index],
            "BidConditionUID": self.uids[index],
            "AreaUID": 0,
            "TypAreaUID": 0,
            "Quantity1": _finite(row.get("total_quantity")),
            "Quantity2": 0,
            "Quantity3": 0,
        }
        totals = markup.container("BidAreaConditions", [markup.tag("BidAreaCondition", total, empty=True)])
        return f"{markup.tag('BidCondition', attributes)}{totals}{markup.end('BidCondition')}"

    def _name(self, number: int, row: Mapping[str, Any]) -> str:
        name = row.get("name") or ""
        if name.strip():
            if markup.has_illegal(name):
                self._done.changed["characters that XML cannot hold", "Name"] += 1
            return str(name)
        self._done.changed["name filled in", "Name"] += 1
        return f"Condition {number}"

    def _kind(self, row: Mapping[str, Any], name: str, warnings: list[str]) -> tuple[str, Unit]:
        kind, unit = row.get("measurement_type"), row.get("unit")
        if kind not in _SHAPES:
            guess = find_kind(unit) or "area"
            self._done.changed["measurement type unknown", "Type"] += 1
            warnings.append(
                f"Condition {name!r} has no known measurement type ({kind!r}); taken for {guess}."
            )
            return guess, find_unit(guess, unit) or default_unit(guess)
        known = find_unit(kind, unit)
        if known is None:
            known = default_unit(kind)
            self._done.changed["unit not one of its type", "Unit"] += 1
            warnings.append(
                f"Condition {name!r} measures {kind} in {unit!r}; the file says {known.name}, "
                "and its total is the database's number."
            )
        return str(kind), known

    def _color(self, row: Mapping[str, Any]) -> int:
        color = markup.colorref(row.get("color"))
        if color is not None:
            return color
        self._done.changed["no colour, default used", "Color"] += 1
        return markup.colorref(_DEFAULT_COLOR) or 0

    def _thickness(self, row: Mapping[str, Any], kind: str) -> float:
        """Return the thickness in inches. A volume is its area times this."""
        own, depth = _finite(row.get("thickness")), _finite(row.get("depth"))
        return max(depth if kind == "volume" and depth > 0 else own, 0.0)


def _group(row: Mapping[str, Any]) -> str:
    """Return the name of the condition type: importers match it by name."""
    for field in ("category", "scope"):
        text = row.get(field) or ""
        if text.strip():
            return str(text)
    return "General"


def _notes(row: Mapping[str, Any]) -> str:
    lines = [row.get("description") or ""]
    for label in ("scope", "building", "area", "elevation"):
        if row.get(label):
            lines.append(f"{label.capitalize()}: {row[label]}")
    return "\n".join(line for line in lines if line)


def _finite(value: float | None) -> float:
    return value if value is not None and math.isfinite(value) else 0.0


def _unfit_length(inches: float | None) -> bool:
    return inches is not None and not (math.isfinite(inches) and inches >= 0)
