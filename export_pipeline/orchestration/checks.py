"""Asset checks of every export file: compare its rows and totals with those computed by the source."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import dagster as dg

from export_pipeline.core.layout import Proof
from export_pipeline.formats.base import FileFacts, Rendered
from export_pipeline.formats.comparison import compare_totals, rows_agree

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


def together(results: Sequence[dg.AssetCheckResult]) -> dg.AssetCheckResult:
    """Merge the results of one check for several partitions. A single result is returned unchanged."""
    if len(results) == 1:
        return results[0]
    failed = [result for result in results if not result.passed]
    return dg.AssetCheckResult(
        passed=not failed,
        check_name=results[0].check_name,
        asset_key=results[0].asset_key,
        description="; ".join(str(result.description) for result in failed[:5])
        or f"all {len(results)} files hold what the source holds",
        metadata={"files": len(results), "wrong files": len(failed)},
    )


def _rows(asset_key: dg.AssetKey, proof: Proof, rendered: Rendered, facts: FileFacts) -> dg.AssetCheckResult:
    counted = f"{facts.rows:,} rows in the file, {rendered.rows:,} written, {proof.rows:,} in the source"
    left_out = f"{rendered.left_out:,} left out by the format"
    return dg.AssetCheckResult(
        passed=rows_agree(proof, rendered, facts),
        check_name="rows",
        asset_key=asset_key,
        description="; ".join((f"{counted}, {left_out}", *facts.problems[:5])),
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
            f"{proof.amount(column).column} adds up to {proof.amount(column).text(found)} in the file and to "
            f"{proof.amount(column).text(total)} in the source"
            for column, (found, total, _) in (wrong or compared).items()
        ),
        metadata={
            f"{amount.column} {what}": value
            for column, (found, total, tolerance) in compared.items()
            for amount in [proof.amount(column)]
            for what, value in (
                ("in file", amount.text(found)),
                ("in source", amount.text(total)),
                ("tolerance", tolerance * 10.0**-amount.minor_digits),
            )
        },
    )
