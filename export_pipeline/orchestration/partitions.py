"""Partitions: whose rows an export holds, and of which window."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

import dagster as dg

from export_pipeline.model.windows import Window

ON_DEMAND = "on_demand"
CADENCES = (ON_DEMAND, "daily", "weekly", "monthly")

SCOPE, WINDOW = "scope", "window"
SCOPE_TAG = "export_pipeline/scope"


class PartitionError(Exception):
    """A run was started without saying whose rows, or which window, it is for."""


@dataclass(frozen=True, slots=True)
class Target:
    """What one file of a run is about: whose rows, and of which window; None where there is none."""

    scope: str | None
    window: Window | None


def scopes_partition(dataset: str) -> dg.DynamicPartitionsDefinition:
    """The partitions of a dataset's scopes, kept in step with the application by a sensor."""
    return dg.DynamicPartitionsDefinition(name=f"{dataset}_scopes")


def windows_partition(cadence: str, start: str, timezone: str) -> dg.TimeWindowPartitionsDefinition:
    """The windows of a cadence.

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
    dataset: str, cadence: str, start: str, timezone: str, scoped: bool
) -> dg.PartitionsDefinition | None:
    """The partitions of a dataset's assets: its scopes if it has some, and for a cadence its windows."""
    if cadence == ON_DEMAND:
        return scopes_partition(dataset) if scoped else None
    windows = windows_partition(cadence, start, timezone)
    return (
        dg.MultiPartitionsDefinition({SCOPE: scopes_partition(dataset), WINDOW: windows})
        if scoped
        else windows
    )


def last_ended(windows: dg.TimeWindowPartitionsDefinition, moment: datetime) -> str | None:
    """The key of the last window that has ended by a moment (with zone); None before the first one's end."""
    window = windows.get_prev_partition_window(moment)
    return windows.get_partition_key_range_for_time_window(window).start if window else None


MOST_MISSED = 100
"""Windows that are made up at once, the newest: a schedule that was off for years shall not make them all."""


def ended_since(windows: dg.TimeWindowPartitionsDefinition, since: str | None, last: str) -> list[str]:
    """The keys of the windows after one, up to and with another; `last` alone where there is none before."""
    if since is None or since >= last or not windows.has_partition_key(since):
        return [last]
    ended = windows.get_partition_keys_in_range(dg.PartitionKeyRange(since, last))
    return list(ended[1:][-MOST_MISSED:])


def targets(
    context: dg.OpExecutionContext,
    *,
    cadence: str,
    start: str,
    timezone: str,
    scoped: bool,
    window: Mapping[str, str] | None,
) -> list[Target]:
    """What the files of a run are about: one a partition, in the partitions' order.

    Args:
        window: Start and end of a run on demand, as ISO 8601 with a zone, or days that begin in `timezone`.

    Raises:
        PartitionError: the run has no partition where its dataset or cadence needs one. Nothing may be
            exported then: it is not known what.
    """
    if not context.has_partition_key and not context.has_partition_key_range:
        if scoped or cadence != ON_DEMAND:
            raise PartitionError(
                "This run has no partition, so it is not known "
                f"{'whose rows' if scoped else 'which window'} to export. "
                "Choose a partition in the launchpad, or start a backfill over the ones you want."
            )
        return [Target(None, _asked_window(window, timezone))]
    found = []
    for key in context.partition_keys:
        by = key.keys_by_dimension if isinstance(key, dg.MultiPartitionKey) else {}
        scope = by.get(SCOPE, key if cadence == ON_DEMAND else None)
        if cadence == ON_DEMAND:
            found.append(Target(scope, _asked_window(window, timezone)))
            continue
        name = by.get(WINDOW, key)
        times = windows_partition(cadence, start, timezone).time_window_for_partition_key(name)
        found.append(Target(scope, Window(name, times.start, times.end)))
    return found


def _asked_window(window: Mapping[str, str] | None, timezone: str) -> Window | None:
    if not window:
        return None
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
    return Window(window.get("name") or f"{window['start']}_{window['end']}", start, end)


def partition_key(target: Target) -> str | None:
    """The partition key of a target; None where its assets have no partitions."""
    if target.window is None:
        return target.scope
    if target.scope is None:
        return target.window.name
    return dg.MultiPartitionKey({SCOPE: target.scope, WINDOW: target.window.name})
