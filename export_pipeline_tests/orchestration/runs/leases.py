"""Time that passes for leases, and nothing else."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa

from export_pipeline.jobs import Ledger
from export_pipeline.jobs.database import open_engine, transaction
from export_pipeline.jobs.leases import LAST_CALL, START_TIMEOUT
from export_pipeline.jobs.tables import leases
from export_pipeline.orchestration.runs.reconciler import reconcile

SECOND = timedelta(seconds=1)


def pass_time(url: str, by: timedelta) -> None:
    """Let all leases of a ledger grow older."""
    engine = open_engine(url)
    times = [leases.c.started_at, leases.c.renewed_at, leases.c.expires_at, leases.c.called_at]
    with transaction(engine, write=True) as connection:
        for row in connection.execute(sa.select(leases)).mappings().all():
            older = {time.name: row[time.name] and row[time.name] - by for time in times}
            connection.execute(sa.update(leases).where(leases.c.run_id == row["run_id"]).values(**older))
    engine.dispose()


def reconcile_after_silence(ledger: Ledger, instance: dg.DagsterInstance, url: str) -> int:
    """Reconcile as often as it takes to find the dead; those that live have no time to renew their leases."""
    changed = reconcile(ledger, instance)
    for silence in (START_TIMEOUT, LAST_CALL):
        pass_time(url, silence + SECOND)
        changed += reconcile(ledger, instance)
    return changed


def wait_for_heartbeat(method: str = "get_all", times: int = 3) -> None:
    """Wait until the heartbeat of a run has called a method of the ledger this often from now on."""
    real, called = getattr(Ledger, method), threading.Semaphore(0)

    def noted(ledger: Ledger, *args: Any, **options: Any) -> Any:
        answer = real(ledger, *args, **options)
        if threading.current_thread().name == "heartbeat":
            called.release()
        return answer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Ledger, method, noted)
        for _ in range(times):
            assert called.acquire(timeout=240), f"the heartbeat does not call {method}"
