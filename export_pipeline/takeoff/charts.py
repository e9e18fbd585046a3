"""The charts of a takeoff: costs by condition and by category."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from export_pipeline.core.charts import Chart, Series, is_drawable
from export_pipeline.core.columns import Column, Kind
from export_pipeline.takeoff.contents import Contents
from export_pipeline.takeoff.fields import COST_PARTS

_MAX_VALUES = 12
"""Most bars of a chart; the last one may be the rest."""


def cost_charts(contents: Contents) -> tuple[Chart, ...]:
    """Return two charts of what is costed; none if nothing is."""
    if not contents.costed:
        return ()
    total = ("total_with_markup",)
    conditions = _add(contents.costed, lambda row: row["name"] or "(no name)", total)
    categories = _add(contents.costed, lambda row: row["category"] or "No category", COST_PARTS)
    charts = (
        _chart(contents, "Total with markup by condition", "Condition", conditions, total),
        _chart(contents, "Cost by category", "Category", categories, COST_PARTS, stacked=True),
    )
    return tuple(chart for chart in charts if chart.series and all(map(is_drawable, chart.values)))


def _add(
    rows: Sequence[Mapping[str, Any]], key: Callable[[Mapping[str, Any]], str], names: Sequence[str]
) -> list[tuple[str, list[Decimal]]]:
    """Return the sums of columns by key, the largest first; those beyond `_MAX_VALUES` in one."""
    sums: dict[str, list[Decimal]] = defaultdict(lambda: [Decimal(0)] * len(names))
    for row in rows:
        own = sums[key(row)]
        sums[key(row)] = [one + (row[name] or Decimal(0)) for one, name in zip(own, names, strict=True)]
    ranked = sorted(sums.items(), key=lambda item: (-sum(item[1]), item[0]))
    kept, others = (
        (ranked, []) if len(ranked) <= _MAX_VALUES else (ranked[: _MAX_VALUES - 1], ranked[_MAX_VALUES - 1 :])
    )
    if others:
        rest = [sum(parts, Decimal(0)) for parts in zip(*(parts for _, parts in others), strict=True)]
        kept.append((f"Other ({len(others):,})", rest))
    return kept


def _chart(
    contents: Contents,
    title: str,
    group: str,
    sums: Sequence[tuple[str, Sequence[Decimal]]],
    names: Sequence[str],
    stacked: bool = False,
) -> Chart:
    series = []
    for place, name in enumerate(names):
        header = name.removesuffix("_cost").replace("_", " ").capitalize()
        values = tuple(parts[place] for _, parts in sums)
        if any(values):
            column = Column(name, header, Kind.MONEY, 2, currency=contents.currency)
            series.append(Series(header, column, values, sum(values, Decimal(0)), name))
    return Chart("bar", title, group, tuple(label for label, _ in sums), tuple(series), stacked)
