"""Costs of conditions, fitted to the exported quantities."""

from __future__ import annotations

import math
from decimal import ROUND_FLOOR, ROUND_HALF_UP, Decimal
from typing import Any

from export_pipeline.core.arrow import pa
from export_pipeline.core.columns import arrow_types
from export_pipeline.takeoff.fields import COST_FIELDS, COST_PARTS, COSTED
from export_pipeline.takeoff.tally import NAMED, Tally

_MAX_MONEY = Decimal(10**14)


def clear_costs(conditions: pa.Table) -> pa.Table:
    """Return the conditions without costs."""
    for cost in (*COST_FIELDS, COSTED):
        nothing = pa.nulls(conditions.num_rows, arrow_types()[cost.kind])
        value = pa.array([False] * conditions.num_rows) if cost is COSTED else nothing
        conditions = conditions.set_column(conditions.schema.get_field_index(cost.name), cost.name, value)
    return conditions


def fit_costs(conditions: pa.Table, tally: Tally, warnings: list[str]) -> pa.Table:
    """Return the conditions with the costs of the exported quantities.

    An assembly's costs were stored for the condition's stored quantity. If the exported quantity is the same,
    the stored costs are used unchanged. Otherwise their sum is scaled by exported / stored quantity and
    rounded to cents, and so are the parts, some of them up and others down, so that they add up to it.
    total_with_markup = total x (1 + overhead % / 100 + profit % / 100).
    """
    rows = conditions.select(
        [c.name for c in COST_FIELDS] + ["costed", "name", "stored_quantity"]
    ).to_pylist()
    unfitted = []
    for row, exported in zip(rows, tally.sums.tolist(), strict=True):
        stored = row["stored_quantity"] or 0.0
        if not row["costed"] or math.isclose(exported, stored, rel_tol=1e-9, abs_tol=1e-9):
            continue
        try:
            row.update(_scale_costs(row, exported, stored))
        except (ValueError, ArithmeticError):
            unfitted.append(row["name"])
    warnings += [
        f"The costs of condition {name!r} could not be fitted to its exported quantity; "
        "they are given as stored."
        for name in unfitted[:NAMED]
    ]
    if len(unfitted) > NAMED:
        warnings.append(f"So are the costs of {len(unfitted) - NAMED} more conditions.")
    for cost in COST_FIELDS:
        at = conditions.schema.get_field_index(cost.name)
        values = pa.array([row[cost.name] for row in rows], arrow_types()[cost.kind])
        conditions = conditions.set_column(at, cost.name, values)
    return conditions


def _scale_costs(row: dict[str, Any], exported: float, stored: float) -> dict[str, Any]:
    """Scale the costs of one condition from its stored quantity to the exported quantity.

    Raises:
        ValueError, ArithmeticError: A quantity or percentage is not a number, or a cost would be too large.
    """
    if not (math.isfinite(exported) and math.isfinite(stored) and stored > 0):
        raise ValueError("no ratio of quantities")
    factor = Decimal(repr(exported)) / Decimal(repr(stored))
    scaled = [(row[part] or Decimal(0)) * factor for part in COST_PARTS]
    costs: dict[str, Any] = dict(zip(COST_PARTS, _round_together(scaled), strict=True))
    costs["total_cost"] = sum(costs.values(), Decimal(0))
    markup = sum(Decimal(repr(row[name] or 0.0)) for name in ("overhead_percent", "profit_percent"))
    costs["total_with_markup"] = _cents(costs["total_cost"] * (1 + markup / 100))
    if max(abs(cost) for cost in costs.values()) >= _MAX_MONEY:
        raise ValueError("more money than a column holds")
    if row["total_labor_hours"] is not None:
        costs["total_labor_hours"] = row["total_labor_hours"] * (exported / stored)
    return costs


def _round_together(amounts: list[Decimal]) -> list[Decimal]:
    """Round amounts to cents that add up to their rounded sum: up, those with the largest remainders."""
    cents = [amount.quantize(Decimal("0.01"), ROUND_FLOOR) for amount in amounts]
    missing = int((_cents(sum(amounts, Decimal(0))) - sum(cents, Decimal(0))) * 100)
    by_remainder = sorted(range(len(amounts)), key=lambda index: cents[index] - amounts[index])
    for index in by_remainder[:missing]:
        cents[index] += Decimal("0.01")
    return cents


def _cents(amount: Decimal) -> Decimal:
    return amount.quantize(Decimal("0.01"), ROUND_HALF_UP)
