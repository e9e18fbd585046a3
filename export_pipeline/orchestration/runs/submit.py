"""A request from the command line: put into the ledger, then followed, or worked on here and now."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import dagster as dg

from export_pipeline.jobs import Job, Ledger, LedgerError
from export_pipeline.jobs.states import ENDED, Status

_LOOK_SECONDS = 0.5
_SILENT_SECONDS = 75.0  # daemons say every half minute that they live
_OF_THE_ROW = ("filters", "columns", "requested_by")


def ledger_at(url: str) -> Ledger | None:
    """The ledger, if its tables are there and can be used."""
    try:
        ledger = Ledger(url)
        ledger.find(limit=1)
    except LedgerError:
        return None
    return ledger


def ask(
    ledger: Ledger,
    *,
    dataset: str,
    formats: Sequence[str],
    scope: str | None,
    options: Mapping[str, Any],
    requested_by: str | None,
    recipients: Sequence[str],
    priority: int,
) -> list[Job]:
    """One job a format."""
    rest = {name: value for name, value in options.items() if name not in _OF_THE_ROW}
    return [
        ledger.request(
            dataset,
            format,
            scope=scope,
            filters=options.get("filters"),
            columns=options.get("columns"),
            options=rest,
            requested_by=requested_by,
            recipients=recipients,
            priority=priority,
        )
        for format in formats
    ]


def follow(
    ledger: Ledger,
    instance: dg.DagsterInstance,
    jobs: Sequence[Job],
    progress: Callable[[str, int, int], None],
) -> bool:
    """Wait until all jobs have ended; False if none was begun and there is no daemon that could.

    Args:
        progress: Told what is being done, percent so far and in all.
    """
    while True:
        now = [ledger.get(job.id) for job in jobs]
        if all(job.claimed_at is None and job.status is Status.PENDING for job in now) and not _lives(
            instance
        ):
            return False
        steps = [job.progress_step or str(job.status) for job in now if job.status not in ENDED]
        progress(steps[0] if steps else "Done", sum(job.progress_percent for job in now), 100 * len(now))
        if not steps:
            return True
        time.sleep(_LOOK_SECONDS)


def _lives(instance: dg.DagsterInstance) -> bool:
    """Whether a daemon has lately said that it evaluates sensors, so that requests are picked up."""
    beat = instance.get_daemon_heartbeats().get("SENSOR")
    return beat is not None and time.time() - beat.timestamp < _SILENT_SECONDS
