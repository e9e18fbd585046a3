"""Expected content of each format's file: rows and sums, as counted and added by the database."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Context, Decimal

import pyarrow as pa

from export_pipeline.core.amounts import Amount
from export_pipeline.core.columns import Column, Kind
from export_pipeline.core.export_data import ExportData
from export_pipeline.core.layout import Number, Proof
from export_pipeline.core.sanitize import guard
from export_pipeline.tabular.columns import View
from export_pipeline.tabular.spec import ColumnSpec
from export_pipeline.tabular.sums import Sum

_PRINTED = ("csv", "excel", "pdf")
_WIDE = Context(prec=400)
_EXACT = 1e-12
"""Rounding error of adding doubles, thousands at a time, relative to the sum of absolute values."""


def proof_of(
    format: str, view: View, columns: Sequence[ColumnSpec], data: ExportData, computed: Mapping[str, Sum]
) -> Proof:
    """Return the proof of a format that shows these columns.

    Read columns have the database's sums, computed columns the sums of their staged cells. A column is left
    out if the format's reader cannot compute its sum: if missing values are printed with digits, in CSV
    if several columns share a header, and if the sum may overflow a double on the way.
    """
    headers = Counter(view.column(column).header for column in columns)
    totals, amounts = {}, {}
    for spec in columns:
        if not spec.parsed.kind.is_number:
            continue
        column = view.column(spec)
        found = _sum(spec, data, computed)
        inexact = data.source_totals.get(f"±{spec.name}", 0.0)
        ambiguous = format == "csv" and headers[column.header] > 1
        if found is None or ambiguous or (format in _PRINTED and any(map(str.isdigit, spec.null_text))):
            continue
        total, size = found
        if not math.isfinite(size):
            continue
        if spec.parsed.minor and view.units:
            total, size, inexact = (one * 10.0**-spec.minor_digits for one in (total, size, inexact))
        name = _as_read(column.header) if format == "csv" else spec.name
        allowed = _EXACT * max(size, 1.0) + inexact + _rounding(format, column, data.source_rows)
        totals[name] = (total, allowed)
        amounts[name] = _amount(spec, view, data, computed)
    return Proof(data.source_rows, totals, amounts)


def _amount(spec: ColumnSpec, view: View, data: ExportData, computed: Mapping[str, Sum]) -> Amount:
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
        minor_digits=spec.minor_digits if parsed.minor and not view.units else 0,
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


def _as_read(header: str) -> str:
    """Return a header as a CSV reader finds it: with an apostrophe if it looks like a formula."""
    guarded, _ = guard(pa.array([header], pa.string()))
    return str(guarded[0])


def _rounding(format: str, column: Column, rows: int) -> float:
    """Return the most that rounding printed cells can change the sum of all rows."""
    if format not in ("csv", "pdf") or column.digits is None:
        return 0.0
    behind = column.precision[1] if column.precision else None
    if column.kind is Kind.INTEGER or (behind is not None and behind <= column.digits):
        return 0.0
    return float(0.5 * 10.0**-column.digits * rows)
