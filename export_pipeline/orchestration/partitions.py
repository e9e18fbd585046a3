"""Partitions: whose rows an export holds, and up to when."""

from __future__ import annotations

from datetime import datetime

import dagster as dg

from export_pipeline.model.windows import Window

ON_DEMAND = "on_demand"
CADENCES = (ON_DEMAND, "daily", "weekly", "monthly")

SCOPE, WINDOW = "scope", "window"
SCOPE_TAG = "export_pipeline/scope"


class PartitionError(Exception):
    """A run was started without saying whose rows, or which window, it is for."""


def scopes_partition(dataset: str) -> dg.DynamicPartitionsDefinition:
    """The partitions of a dataset's scopes, kept in step with the application by a sensor."""
    return dg.DynamicPartitionsDefinition(name=f"{dataset}_scopes")


def partitions(dataset: str, cadence: str, start: str, timezone: str) -> dg.PartitionsDefinition:
    """The partitions of a dataset's assets: its scopes, and for a cadence its windows too.

    Args:
        start: First day of the first window, as YYYY-MM-DD.
        timezone: IANA zone in which days begin.
    """
    scopes = scopes_partition(dataset)
    if cadence == ON_DEMAND:
        return scopes
    kinds = {
        "daily": dg.DailyPartitionsDefinition,
        "weekly": dg.WeeklyPartitionsDefinition,
        "monthly": dg.MonthlyPartitionsDefinition,
    }
    windows = kinds[cadence](start_date=start, timezone=timezone)
    return dg.MultiPartitionsDefinition({SCOPE: scopes, WINDOW: windows})


def last_ended(windows: dg.TimeWindowPartitionsDefinition, moment: datetime) -> str | None:
    """The key of the last window that has ended by a moment (with zone); None before the first one's end."""
    window = windows.get_prev_partition_window(moment)
    return windows.get_partition_key_range_for_time_window(window).start if window else None


def chosen_scope(context: dg.OpExecutionContext) -> tuple[str, Window | None]:
    """Scope and window of a run's partition. Without one nothing is chosen, so nothing may be exported.

    Raises:
        PartitionError: the run has no partition.
    """
    if not context.has_partition_key:
        raise PartitionError(
            "This run has no partition, so it is not known whose rows to export. "
            "Choose a partition in the launchpad, or start a backfill over the ones you want."
        )
    key = context.partition_key
    if not isinstance(key, dg.MultiPartitionKey):
        return key, None
    window = context.partition_time_window
    return key.keys_by_dimension[SCOPE], Window(key.keys_by_dimension[WINDOW], window.start, window.end)
