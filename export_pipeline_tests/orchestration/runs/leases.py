"""Time that passes for leases, and nothing else."""

from __future__ import annotations

from datetime import timedelta

import dagster as dg
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


def settle_after_silence(ledger: Ledger, instance: dg.DagsterInstance, url: str) -> int:
    """Settle as often as it takes to find the dead; those that live have no time to renew their leases."""
    settled = reconcile(ledger, instance)
    for silence in (START_TIMEOUT, LAST_CALL):
        pass_time(url, silence + SECOND)
        settled += reconcile(ledger, instance)
    return settled
