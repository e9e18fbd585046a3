"""Expected content of each format's file: rows and sums, as counted and added by the database."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Context, Decimal

from export_pipeline.core.amounts import Amount
from export_pipeline.core.columns import Column, Kind
from export_pipeline.core.export_data import ExportData
from export_pipeline.core.layout import Number, Presentation, Proof
from export_pipeline.tabular.columns import shown_column
from export_pipeline.tabular.spec import ColumnSpec
from export_pipeline.tabular.sums import Sum

_WIDE = Context(prec=400)
_EXACT = 1e-12
"""Rounding error of adding doubles, thousands at a time, relative to the sum of absolute values."""


def make_proof(
    presentation: Presentation, columns: Sequence[ColumnSpec], data: ExportData, computed: Mapping[str, Sum]
) -> Proof:
    """Return the proof of a format that shows these columns.

    Read columns have the database's sums, computed columns the sums of their staged cells. A column is left
    out if the format's reader cannot compute its sum: if missing values are printed with digits, if sums are
    by header and several columns share one, and if the sum may overflow a double on the way.
    """
    headers = Counter(shown_column(column, presentation).header for column in columns)
    totals, amounts = {}, {}
    for spec in columns:
        if not spec.parsed.kind.is_number:
            continue
        column = shown_column(spec, presentation)
        added = _sum(spec, data, computed)
        inexact = data.source_totals.get(f"±{spec.name}", 0.0)
        is_ambiguous = presentation.sums_by_header and headers[column.header] > 1
        prints_digits = presentation.prints_nulls and any(map(str.isdigit, spec.null_text))
        if added is None or is_ambiguous or prints_digits:
            continue
        total, size = added
        if not math.isfinite(size):
            continue
        if spec.parsed.minor and presentation.units:
            total, size, inexact = (one * 10.0**-spec.minor_digits for one in (total, size, inexact))
        name = presentation.printed_header(column.header) if presentation.sums_by_header else spec.name
        rounding = _rounding(column, data.source_rows) if presentation.rounds else 0.0
        totals[name] = (total, _EXACT * max(size, 1.0) + inexact + rounding)
        amounts[name] = _amount(spec, presentation, data, computed)
    return Proof(data.source_rows, totals, amounts)


def _amount(
    spec: ColumnSpec, presentation: Presentation, data: ExportData, computed: Mapping[str, Sum]
) -> Amount:
    """Return how to print the column's sum: in whole units and at its scale, whatever the format shows."""
    parsed = spec.parsed
    exact: str | Number | None = data.exact_totals.get(spec.name)
    if exact is None and math.isfinite(total := data.source_totals.get(spec.name, math.nan)):
        exact = repr(total)  # whole numbers in minor units, which whole units may round
    if spec.compute is not None and not isinstance(computed[spec.name].total, float):
        exact = computed[spec.name].total
    if parsed.minor:
        digits: int | None = spec.minor_digits
    elif parsed.kind is Kind.INTEGER:
        digits = 0
    else:
        digits = parsed.precision[1] if parsed.precision else spec.digits
    units = {Kind.MONEY: spec.currency, Kind.PERCENT: "%"}
    return Amount(
        spec.name,
        digits,
        units.get(parsed.kind),
        minor_digits=spec.minor_digits if parsed.minor and not presentation.units else 0,
        is_private=spec.personal or spec.readers is not None,
        exact=None
        if exact is None
        else _WIDE.scaleb(Decimal(exact), -spec.minor_digits if parsed.minor else 0),
    )


def _sum(spec: ColumnSpec, data: ExportData, computed: Mapping[str, Sum]) -> tuple[float, float] | None:
    """Return a column's sum and the sum of its absolute values; None if it was not added."""
    if spec.compute is not None:
        return float(computed[spec.name].total), computed[spec.name].size
    total = data.source_totals.get(spec.name)
    if total is None:
        return None
    return total, data.source_totals.get(f"|{spec.name}|", abs(total))


def _rounding(column: Column, rows: int) -> float:
    """Return the most that rounding printed cells can change the sum of all rows."""
    if column.digits is None:
        return 0.0
    scale = column.precision[1] if column.precision else None
    if column.kind is Kind.INTEGER or (scale is not None and scale <= column.digits):
        return 0.0
    return float(0.5 * 10.0**-column.digits * rows)
