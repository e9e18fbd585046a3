"""Asset checks of every export file: compare its rows and totals with those computed by the source."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import dagster as dg

from export_pipeline.datasets.file_checks import CheckResult

CHECKS = {
    "rows": "Rows in the file = rows in ExportData = rows in the source snapshot; else it is not published.",
    "totals": "Totals read back from the file = totals the source adds up; else it is not published.",
}


def asset_check_results(
    asset_key: dg.AssetKey, results: Iterable[CheckResult]
) -> Iterator[dg.AssetCheckResult]:
    """Yield the results of CHECKS for a file as Dagster's."""
    for result in results:
        yield dg.AssetCheckResult(
            passed=result.passed,
            check_name=result.name,
            asset_key=asset_key,
            description=result.description,
            metadata=result.metadata,
        )
