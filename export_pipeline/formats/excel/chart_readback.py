"""Read the values of a workbook's charts back: from their cells, and from the charts' own copies."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from zipfile import ZipFile

from export_pipeline.formats.excel.charts import chart_part
from export_pipeline.formats.excel.names import column_letters, quote_sheet
from export_pipeline.formats.excel.xml import column_number, read_xml

_MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_CHART = "{http://schemas.openxmlformats.org/drawingml/2006/chart}"
_AREA = re.compile(r"\$([A-Z]+)\$([0-9]+):\$([A-Z]+)\$([0-9]+)$")
_MAX_CELLS = 10_000


@dataclass(frozen=True, slots=True)
class ChartArea:
    """The cells of a chart's values: sheet and its part, and the area."""

    sheet: str
    part: str
    area: str


def read_charts(
    archive: ZipFile, areas: Sequence[ChartArea]
) -> tuple[tuple[tuple[float, ...], ...], list[str]]:
    """Return the values of each chart, series by series, and the problems of the charts.

    Raises:
        KeyError: A part is missing.
        ValueError: An area is not one of a few cells.
    """
    values, problems = [], []
    sheets: dict[str, Mapping[str, float]] = {}
    for number, area in enumerate(areas, start=1):
        if area.part not in sheets:
            sheets[area.part] = _numbers(archive, area.part)
        columns = _columns(area)
        cells = [[sheets[area.part].get(place, math.nan) for place in column] for column in columns.values()]
        values.append(tuple(value for column in cells for value in column))
        if _drawn(archive, chart_part(number)) != dict(zip(columns, cells, strict=True)):
            problems.append(f"chart {number} of sheet {area.sheet!r} does not show the values of its cells")
    return tuple(values), problems


def _columns(area: ChartArea) -> dict[str, list[str]]:
    """Return the addresses of the cells of each series, by the reference that its chart has."""
    match = _AREA.search(area.area)
    if match is None:
        raise ValueError(f"the values of a chart are nowhere: {area.area}")
    left, right = column_number(match[1]), column_number(match[3])
    first, last = int(match[2]), int(match[4])
    if (right - left + 1) * (last - first + 1) > _MAX_CELLS:
        raise ValueError(f"a chart has too many values: {area.area}")
    sheet = quote_sheet(area.sheet)
    return {
        f"{sheet}!${letters}${first}:${letters}${last}": [f"{letters}{row}" for row in range(first, last + 1)]
        for letters in map(column_letters, range(left, right + 1))
    }


def _numbers(archive: ZipFile, part: str) -> dict[str, float]:
    """Return the numbers of a small sheet by address."""
    numbers = {}
    for cell in read_xml(archive, part).iter(f"{_MAIN}c"):
        value = cell.findtext(f"{_MAIN}v")
        if value is not None and cell.get("t", "n") == "n":
            numbers[cell.get("r")] = float(value)
    return numbers


def _drawn(archive: ZipFile, part: str) -> dict[str, list[float]]:
    """Return the values that a chart holds, by the reference to their cells."""
    return {
        reference.findtext(f"{_CHART}f"): [float(point) for point in _points(reference)]
        for values in read_xml(archive, part).iter(f"{_CHART}val")
        for reference in values.iter(f"{_CHART}numRef")
    }


def _points(reference: Any) -> list[str]:
    points = sorted(reference.iter(f"{_CHART}pt"), key=lambda point: int(point.get("idx")))
    return [point.findtext(f"{_CHART}v") for point in points]
