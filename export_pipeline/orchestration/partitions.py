"""Partitions: the scope and the window of an export."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

import dagster as dg

from export_pipeline.core.windows import Window
from export_pipeline.datasets.export_file import ON_DEMAND as ON_DEMAND
from export_pipeline.datasets.partition_keys import (
    label_of_key,
    labelled_ending,
    scope_key,
    scope_of_key,
    scopes_definition,
)
from export_pipeline.orchestration.dagster_compat.partitions import (
    dynamic_partitions_ending,
    window_range,
    window_times,
)

CADENCES = (ON_DEMAND, "daily", "weekly", "monthly")

SCOPE, WINDOW = "scope", "window"
SCOPE_TAG = "export_pipeline/scope"
SCOPE_NAME_TAG = "export_pipeline/scope_name"
WINDOW_TAG = "export_pipeline/window"


class PartitionError(Exception):
    """Raised when a run was started without a scope or a window that it needs, or with an unknown scope."""


@dataclass(frozen=True, slots=True)
class Target:
    """Scope and window of one file of a run. Each is None if the export has none.

    Attributes:
        scope_name: Name of the scope in its partition key, or today's if the partition is only a window.
    """

    scope: str | None
    window: Window | None
    scope_name: str | None = None


def known_scopes(instance: dg.DagsterInstance, dataset: str) -> list[str]:
    """Return the scopes of a dataset for which Dagster has partitions."""
    keys = instance.get_dynamic_partitions(str(scopes_partition(dataset).name))
    return list(dict.fromkeys(map(scope_of_key, keys)))


def add_scope(instance: dg.DagsterInstance, dataset: str, key: str) -> str:
    """Return the partition of a scope, which is added with this key if there is none.

    A partition keeps the name that its scope had at first, as Dagster's history belongs to its key.
    """
    name = str(scopes_partition(dataset).name)
    scope = scope_of_key(key)
    for candidate in dict.fromkeys((key, scope_key(scope))):
        if instance.has_dynamic_partition(name, candidate):
            return candidate
    for known in dynamic_partitions_ending(instance, name, labelled_ending(scope)):
        if scope_of_key(known) == scope:
            return known
    instance.add_dynamic_partitions(name, [key])
    return key


def scopes_partition(dataset: str) -> dg.DynamicPartitionsDefinition:
    """Return the partitions of a dataset's scopes. A sensor synchronizes them with the application."""
    return dg.DynamicPartitionsDefinition(name=scopes_definition(dataset))


def windows_partition(cadence: str, start: str, timezone: str) -> dg.TimeWindowPartitionsDefinition:
    """Return the partitions for the windows of a cadence.

    Args:
        cadence: daily, weekly or monthly.
        start: First day of the first window, as YYYY-MM-DD.
        timezone: IANA zone in which days begin.
    """
    kinds: dict[str, type[dg.TimeWindowPartitionsDefinition]] = {
        "daily": dg.DailyPartitionsDefinition,
        "weekly": dg.WeeklyPartitionsDefinition,
        "monthly": dg.MonthlyPartitionsDefinition,
    }
    offset = {"day_offset": 1} if cadence == "weekly" else {}  # weeks begin on Monday
    return kinds[cadence](start_date=start, timezone=timezone, **offset)  # type: ignore[call-arg, arg-type]


def partitions(
    dataset: str, cadence: str, start: str, timezone: str, *, scoped: bool, windows_have_scopes: bool
) -> dg.PartitionsDefinition | None:
    """Return the partitions of a dataset's assets.

    On demand they are the scopes; of a cadence, the windows, of each scope if `windows_have_scopes`. Dagster
    is made for some 100,000 partitions of an asset, which thousands of scopes times windows exceed.
    """
    if cadence == ON_DEMAND:
        return scopes_partition(dataset) if scoped else None
    windows = windows_partition(cadence, start, timezone)
    if not windows_have_scopes:
        return windows
    return dg.MultiPartitionsDefinition({SCOPE: scopes_partition(dataset), WINDOW: windows})


def scope_tag(scope: str) -> str:
    """Return the value of SCOPE_TAG for a scope. PostgreSQL stores no NUL; one refused run stops a tick."""
    return scope.replace("\0", "%00")


def scope_tags(key: str) -> dict[str, str]:
    """Return the tags of a run for the scope of a partition key: its id, and its name if the key has it."""
    name = label_of_key(key)
    return {SCOPE_TAG: scope_tag(scope_of_key(key)), **({SCOPE_NAME_TAG: name} if name else {})}


MAX_MISSED_WINDOWS = 100
"""Maximum number of missed windows to catch up, newest first, e.g. after a schedule was off for years."""


def ended_since(windows: dg.TimeWindowPartitionsDefinition, since: str | None, last: str) -> list[str]:
    """Return the keys of the windows after `since` up to `last`, inclusive; without `since`, only `last`."""
    if since is None or since >= last or not windows.has_partition_key(since):
        return [last]
    return window_range(windows, since, last)[1:][-MAX_MISSED_WINDOWS:]


def targets(
    context: dg.OpExecutionContext,
    *,
    cadence: str,
    start: str,
    timezone: str,
    scoped: bool,
    window: Mapping[str, str] | None,
    chosen_scope: Callable[[], tuple[str, str | None] | None],
) -> list[Target]:
    """Return the targets of a run's files: one per partition, in the order of the partitions.

    Args:
        window: Start and end of an on-demand run, as ISO 8601 with an offset, or as days in the window's
            `timezone` (default: the time zone of the cadence).
        chosen_scope: Returns id and name of the scope in the run's config or tags. It is called for
            partitions that are windows only.

    Raises:
        PartitionError: the run has no partition, but its dataset or cadence needs one. Nothing may be
            exported then, as scope or window is unknown.
    """
    if not context.has_partition_key and not context.has_partition_key_range:
        if scoped or cadence != ON_DEMAND:
            raise PartitionError(
                "This run has no partition, so it is not known "
                f"{'whose rows' if scoped else 'which window'} to export. "
                "Choose a partition in the launchpad, or start a backfill over the ones you want."
            )
        return [Target(None, _asked_window(window, timezone))]
    chosen_targets = []
    chosen: tuple[str, str | None] | None = None
    for key in context.partition_keys:
        by = key.keys_by_dimension if isinstance(key, dg.MultiPartitionKey) else {}
        scope_partition = by.get(SCOPE, key if cadence == ON_DEMAND else None)
        scope = scope_partition and scope_of_key(scope_partition)
        name = scope_partition and label_of_key(scope_partition)
        if cadence == ON_DEMAND:
            chosen_targets.append(Target(scope, _asked_window(window, timezone), name))
            continue
        if scoped and scope is None:
            chosen = chosen or chosen_scope()
            if chosen is None:
                raise PartitionError(
                    "This run has a window and no scope, so it is not known whose rows to export. Write "
                    f"`scope: ID` into its config, or give it the tag {SCOPE_TAG}; "
                    "`export-pipeline backfill` exports many windows of one scope."
                )
            scope, name = chosen
        window_name = by.get(WINDOW, key)
        times = window_times(windows_partition(cadence, start, timezone), window_name)
        chosen_targets.append(Target(scope, Window(window_name, *times, timezone), name))
    return chosen_targets


def _asked_window(window: Mapping[str, str] | None, timezone: str) -> Window | None:
    if not window:
        return None
    timezone = window.get("timezone") or timezone
    ends = []
    for name in ("start", "end"):
        try:
            moment = datetime.fromisoformat(window[name])
        except (KeyError, ValueError):
            raise PartitionError(
                f"window.{name} is {window.get(name)!r}; write both ends as a day or time such as 2026-11-01 "
                "or 2026-11-01T00:00:00+01:00."
            ) from None
        ends.append(moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(timezone)))
    start, end = ends
    if start >= end:
        raise PartitionError(f"The window ends ({window['end']}) before it begins ({window['start']}).")
    return Window(window.get("name") or f"{window['start']}_{window['end']}", start, end, timezone)
