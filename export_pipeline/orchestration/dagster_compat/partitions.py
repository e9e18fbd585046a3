"""Partitions: windows, keys of run requests, and dynamic partitions."""

from __future__ import annotations

from datetime import datetime

import dagster as dg
import sqlalchemy as sa
from dagster._core.storage.event_log.schema import DynamicPartitionsTable

from export_pipeline.orchestration.dagster_compat.storage import sql_storage


def window_times(windows: dg.TimeWindowPartitionsDefinition, name: str) -> tuple[datetime, datetime]:
    """Return start and end of the window with this partition key."""
    window = windows.time_window_for_partition_key(name)
    return window.start, window.end


def last_window(windows: dg.TimeWindowPartitionsDefinition, moment: datetime) -> str | None:
    """Return the key of the last window that ended by an aware time, or None if no window has ended yet."""
    window = windows.get_prev_partition_window(moment)
    return windows.get_partition_key_range_for_time_window(window).start if window else None


def window_range(windows: dg.TimeWindowPartitionsDefinition, first: str, last: str) -> list[str]:
    """Return the keys of the windows from the first to the last, inclusive."""
    return list(windows.get_partition_keys_in_range(dg.PartitionKeyRange(first, last)))


def resolve_partition(
    request: dg.RunRequest, job: dg.JobDefinition, instance: dg.DagsterInstance
) -> dg.RunRequest:
    """Return a run request with the tags of its partition.

    Raises:
        dagster.DagsterError: the job has no such partition.
    """
    return request.with_resolved_tags_and_config(
        target_definition=job, dynamic_partitions_requests=[], dynamic_partitions_store=instance
    )


def dynamic_partitions_ending(instance: dg.DagsterInstance, name: str, ending: str) -> list[str]:
    """Return the dynamic partitions of a definition whose keys end so, without reading all its keys.

    Args:
        name: Name of the partitions definition.
    """
    table = DynamicPartitionsTable.c
    select = sa.select(table.partition).where(
        table.partitions_def_name == name, table.partition.endswith(ending, autoescape=True)
    )
    with sql_storage(instance).index_connection() as connection:
        return list(connection.scalars(select))
