"""Retention bounds what requests leave behind, however many there were.

`EXPORT_TEST_REQUESTS=2000 pytest -s export_pipeline_tests/system/test_growth.py` prints the table of docs/performance.md.
"""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from export_pipeline_tests.system.deployment import running_system
from export_pipeline_tests.system.growth import measure, retain_nothing, table_of
from export_pipeline_tests.system.many import REQUESTS, all_requests_end_rightly


@pytest.mark.slow
@pytest.mark.timeout(600 + 12 * REQUESTS)
def test_retention_bounds_what_requests_leave_behind(tmp_path: Path) -> None:
    with running_system(tmp_path, servers=True) as system:
        before = measure(system)
        all_requests_end_rightly(system, REQUESTS)
        filled = measure(system)
        system.services["daemon"].kill()
        retain_nothing(system)
        after = measure(system)
        compacted = measure(system, compact=True)
        with dg.DagsterInstance.get() as instance:
            assets = len(instance.get_asset_keys())
    columns = {"before": before, f"after {REQUESTS} requests": filled, "after retention": after}
    print(f"\n{table_of({**columns, 'after VACUUM FULL': compacted})}")
    assert after["store, files"] == after["staging, files"] == 0
    assert after["DAGSTER_HOME, files"] <= before["DAGSTER_HOME, files"] + 3
    assert after["Dagster: rows of runs"] <= assets  # that of the newest file of each
    assert after["Dagster: rows of event_logs"] <= 60 * assets
    assert after["application with ledger: rows of export_removals"] == 0
