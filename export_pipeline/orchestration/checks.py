"""Asset checks of every export file: compare its rows and totals with those computed by the source."""

from __future__ import annotations

import math
from collections.abc import Iterator
from decimal import Decimal

import dagster as dg

from export_pipeline.core.amounts import Amount
from export_pipeline.core.layout import Proof
from export_pipeline.formats.base import FileFacts, Rendered
from export_pipeline.formats.comparison import chart_problems, compare_totals, rows_agree

CHECKS = {
    "rows": "Rows in the file = rows in ExportData = rows in the source snapshot; else it is not published.",
    "totals": "Totals read back from the file = totals the source adds up; else it is not published.",
}


def evaluate(
    asset_key: dg.AssetKey, proof: Proof, rendered: Rendered, facts: FileFacts
) -> Iterator[dg.AssetCheckResult]:
    """Yield the results of CHECKS for a file.

    Args:
        proof: Row count and totals computed by the source.
        rendered: Row counts reported by the renderer.
        facts: Rows, totals and problems found by an independent reader of the file.
    """
    yield _rows(asset_key, proof, rendered, facts)
    yield _totals(asset_key, proof, facts)


def _rows(asset_key: dg.AssetKey, proof: Proof, rendered: Rendered, facts: FileFacts) -> dg.AssetCheckResult:
    counted = f"{facts.rows:,} rows in the file, {rendered.rows:,} written, {proof.rows:,} in the source"
    left_out = f"{rendered.left_out:,} left out by the format"
    return dg.AssetCheckResult(
        passed=rows_agree(proof, rendered, facts),
        check_name="rows",
        asset_key=asset_key,
        description="; ".join((f"{counted}, {left_out}", *facts.problems[:5], *chart_problems(proof, facts))),
        metadata={
            "rows in file": facts.rows,
            "rows rendered": rendered.rows,
            "rows in source": proof.rows,
            "rows this format cannot express": rendered.left_out,
        },
    )


def _totals(asset_key: dg.AssetKey, proof: Proof, facts: FileFacts) -> dg.AssetCheckResult:
    compared, differing = compare_totals(proof, facts)
    wrong = {column: sums for column, sums in compared.items() if column in differing}
    return dg.AssetCheckResult(
        passed=not wrong,
        check_name="totals",
        asset_key=asset_key,
        description="; ".join(
            _describe_total(proof.amount(column), total, in_file, column not in wrong)
            for column, (in_file, total, _) in (wrong or compared).items()
        ),
        metadata={
            name: value
            for column, (in_file, total, tolerance) in compared.items()
            if not (amount := proof.amount(column)).is_private
            for name, value in (
                (f"total {amount.column}", number_to_plot(amount.value(in_file))),
                (f"{amount.column} in file", amount.text(in_file)),
                (f"{amount.column} in source", amount.text(total)),
                (f"{amount.column} tolerance", tolerance * 10.0**-amount.minor_digits),
            )
        },
    )


def _describe_total(amount: Amount, total: float, read_back: float, is_right: bool) -> str:
    if amount.is_private:
        return f"{amount.column} {'agrees' if is_right else 'does not agree'} with the source"
    in_file, in_source = amount.text(read_back), amount.text(total)
    return f"{amount.column} adds up to {in_file} in the file and to {in_source} in the source"


def number_to_plot(value: str | Decimal) -> float | None:
    """Return an exact sum as a double, which Dagster draws over time; None for NaN and infinity."""
    number = float(Decimal(value))
    return number if math.isfinite(number) else None
