"""Checks of an export file: its rows and totals compared with those computed by the source."""

from __future__ import annotations

import math
from decimal import Decimal

from pydantic import BaseModel, ConfigDict

from export_pipeline.core.amounts import Amount
from export_pipeline.core.layout import Proof
from export_pipeline.formats.base import FileFacts, Rendered
from export_pipeline.formats.comparison import chart_problems, compare_totals, rows_agree


class CheckResult(BaseModel):
    """The result of one check of a file, for people.

    Attributes:
        metadata: What was compared, by label.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    passed: bool
    description: str
    metadata: dict[str, int | float | str | None]


def check_file(proof: Proof, rendered: Rendered, facts: FileFacts) -> list[CheckResult]:
    """Return the results of the checks `rows` and `totals` of a file.

    Args:
        proof: Row count and totals computed by the source.
        rendered: Row counts reported by the renderer.
        facts: Rows, totals and problems found by an independent reader of the file.
    """
    return [_check_rows(proof, rendered, facts), _check_totals(proof, facts)]


def _check_rows(proof: Proof, rendered: Rendered, facts: FileFacts) -> CheckResult:
    counted = f"{facts.rows:,} rows in the file, {rendered.rows:,} written, {proof.rows:,} in the source"
    left_out = f"{rendered.left_out:,} left out by the format"
    return CheckResult(
        passed=rows_agree(proof, rendered, facts),
        name="rows",
        description="; ".join((f"{counted}, {left_out}", *facts.problems[:5], *chart_problems(proof, facts))),
        metadata={
            "rows in file": facts.rows,
            "rows rendered": rendered.rows,
            "rows in source": proof.rows,
            "rows this format cannot express": rendered.left_out,
        },
    )


def _check_totals(proof: Proof, facts: FileFacts) -> CheckResult:
    compared, differing = compare_totals(proof, facts)
    wrong = {column: sums for column, sums in compared.items() if column in differing}
    return CheckResult(
        passed=not wrong,
        name="totals",
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
