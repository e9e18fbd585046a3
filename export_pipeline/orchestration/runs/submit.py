"""Submit a request from the command line: write it into the ledger and follow it, or run it locally."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import dagster as dg

from export_pipeline.jobs import Job, Ledger, NoLedgerError
from export_pipeline.jobs.states import ENDED, Status
from export_pipeline.orchestration.dagster_compat.daemon import heartbeats

_LOOK_SECONDS = 0.5
_SILENT_SECONDS = 75.0  # daemons send a heartbeat every 30 s
_COLUMNS = ("filters", "columns", "requested_by")


def ledger_at(url: str) -> Ledger | None:
    """Return the ledger, or None if its tables were never made.

    Raises:
        LedgerError: it cannot be used now. An export that it does not know would never be removed.
    """
    try:
        ledger = Ledger(url)
        ledger.find(limit=1)
    except NoLedgerError:
        return None
    return ledger


def submit_request(
    ledger: Ledger,
    *,
    dataset: str,
    formats: Sequence[str],
    scope: str | None,
    options: Mapping[str, Any],
    requested_by: str | None,
    recipients: Sequence[str],
    priority: int,
    idempotency_key: str | None = None,
    reuse_within: timedelta | None = None,
) -> list[Job]:
    """Insert one job per format, and return the jobs."""
    rest = {name: value for name, value in options.items() if name not in _COLUMNS}
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
            idempotency_key=idempotency_key,
            reuse_within=reuse_within,
        )
        for format in formats
    ]


def wait_for_jobs(
    ledger: Ledger,
    instance: dg.DagsterInstance,
    jobs: Sequence[Job],
    progress: Callable[[str, int, int], None],
) -> bool:
    """Wait until all jobs have ended. Return False if none has begun and no daemon is alive to begin one.

    Args:
        progress: Called with the current step, the percent done and their total.
    """
    while True:
        now = [ledger.get(job.id) for job in jobs]
        steps = [job.progress_step or str(job.status) for job in now if job.status not in ENDED]
        waiting = [job for job in now if job.claimed_at is None and job.status is Status.PENDING]
        if steps and len(waiting) == len(steps) and not _is_daemon_alive(instance):
            return False
        progress(steps[0] if steps else "Done", sum(job.progress_percent for job in now), 100 * len(now))
        if not steps:
            return True
        time.sleep(_LOOK_SECONDS)


def _is_daemon_alive(instance: dg.DagsterInstance) -> bool:
    """Return whether a daemon with a recent heartbeat evaluates sensors, so that requests are picked up."""
    beat = heartbeats(instance).get("SENSOR")
    return beat is not None and time.time() - beat < _SILENT_SECONDS
