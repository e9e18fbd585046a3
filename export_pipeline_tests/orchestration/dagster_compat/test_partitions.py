"""Contracts with Dagster about partitions."""

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from export_pipeline.orchestration.dagster_compat.partitions import (
    dynamic_partitions_ending,
    last_window,
    resolve_partition,
    window_range,
    window_times,
)
from export_pipeline_tests.orchestration.dagster_compat.drawings import JOB


def test_else_schedules_would_ask_for_the_wrong_windows(instance: dg.DagsterInstance) -> None:
    days = dg.DailyPartitionsDefinition("2026-01-01", timezone="Europe/Berlin")
    start, end = window_times(days, "2026-03-29")  # the day on which clocks go forward
    assert end.astimezone(UTC) - start.astimezone(UTC) == timedelta(hours=23)
    assert last_window(days, end) == "2026-03-29"
    assert last_window(days, end - timedelta(seconds=1)) == "2026-03-28"
    assert last_window(days, datetime(2026, 1, 1, 12, tzinfo=UTC)) is None
    assert window_range(days, "2026-03-28", "2026-03-30") == ["2026-03-28", "2026-03-29", "2026-03-30"]


def test_else_a_request_for_a_partition_that_is_not_there_would_fail_a_whole_tick(
    instance: dg.DagsterInstance,
) -> None:
    resolved = resolve_partition(dg.RunRequest(partition_key="a"), JOB, instance)
    assert resolved.tags["dagster/partition"] == "a"
    with pytest.raises(dg.DagsterError):
        resolve_partition(dg.RunRequest(partition_key="x"), JOB, instance)


def test_else_a_scope_of_thousands_would_be_looked_for_in_all_of_them(instance: dg.DagsterInstance) -> None:
    instance.add_dynamic_partitions("scopes", ["Shop (a)", "Shop (b)", "100% (a_)", "a"])
    instance.add_dynamic_partitions("others", ["Other (a)"])
    assert dynamic_partitions_ending(instance, "scopes", " (a)") == ["Shop (a)"]
    assert dynamic_partitions_ending(instance, "scopes", " (a_)") == ["100% (a_)"]
