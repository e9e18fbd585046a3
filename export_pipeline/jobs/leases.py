"""Leases: the proof, renewed every few seconds, that a run's process is alive.

Only the database's clock counts, so the clocks of machines may differ. An expired lease first gets a last
call: after an outage of the database every lease has expired, and each live process renews its own within
seconds. A lease that misses the last call is lost for good, and its process cannot continue.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from export_pipeline.jobs.database import insert_new
from export_pipeline.jobs.errors import LeaseLostError
from export_pipeline.jobs.sql_types import utc_now
from export_pipeline.jobs.storable_text import storable
from export_pipeline.jobs.tables import leases
from export_pipeline.jobs.transitions import Transitions

RENEW_SECONDS = 5.0
LEASE = timedelta(seconds=30)
"""Duration of a lease: six renewal intervals, so that a busy machine may miss some."""
LAST_CALL = timedelta(seconds=15)
"""Time that a process has to renew its lease after the lease was found expired."""
START_TIMEOUT = timedelta(seconds=60)
"""Time that a run may take from its start to its first renewal."""
NEXT_STEP_TIMEOUT = timedelta(seconds=120)
"""Time that a run may take between two steps if each step has its own process."""

_LONGEST = NEXT_STEP_TIMEOUT + LEASE
_KEPT_AFTER_EXPIRY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Lease:
    """The lease of a run at the time it was read.

    Attributes:
        worker_id: Random id of the process that holds it; None until a process has taken it.
        host: Name of the process's machine, for people only.
        silent: Time since the last renewal, or since the lease was written.
        is_alive: True if it has not expired.
        is_lost: True if its process was declared dead. The lease can no longer be renewed.
    """

    run_id: str
    worker_id: str | None
    host: str | None
    silent: timedelta
    is_alive: bool
    is_lost: bool


@dataclass(frozen=True, slots=True)
class Disk:
    """Room on a disk, in bytes."""

    free: int
    size: int


class LeaseKeeper(Transitions):
    """A ledger that also manages the leases of runs."""

    def hold_lease(
        self,
        run_id: str,
        worker_id: str,
        host: str | None = None,
        lasts: timedelta = LEASE,
        staging: Disk | None = None,
    ) -> None:
        """Take or renew the lease of a run.

        Args:
            worker_id: Random id, one for each process.
            lasts: Time after which the lease expires.
            staging: Disk of the process's staging folder.

        Raises:
            LeaseLostError: the run was declared dead, or another process holds its lease.
        """
        with self._writing() as (connection, now):
            values = {
                "worker_id": worker_id,
                "host": storable(host),
                "renewed_at": now,
                "expires_at": now + lasts,
                "called_at": None,
                "staging_free": staging and staging.free,
                "staging_size": staging and staging.size,
            }
            is_free = sa.or_(
                leases.c.worker_id.is_(None), leases.c.worker_id == worker_id, sa.not_(_is_alive(now))
            )
            mine = sa.and_(leases.c.run_id == run_id, leases.c.lost_at.is_(None), is_free)
            if connection.execute(sa.update(leases).where(mine).values(**values)).rowcount:
                return
            insert = insert_new(connection, leases, "run_id").values(run_id=run_id, **values)
            if not connection.execute(insert).rowcount:
                raise LeaseLostError(run_id)

    def expect_lease(self, run_id: str) -> None:
        """Write a lease that a run's process must take within a minute, unless the run has one already."""
        with self._writing() as (connection, now):
            _expect(connection, {run_id}, now)

    def leases(self, run_ids: Collection[str]) -> dict[str, Lease]:
        """Return the leases of these runs by run id. Runs without a lease are left out."""
        with self._reading() as connection:
            now = connection.scalars(sa.select(utc_now())).one()
            return _read(connection, run_ids, now)

    def check_leases(
        self, expected: Collection[str], others: Collection[str] = (), doubted: Collection[str] = ()
    ) -> dict[str, Lease]:
        """Mark leases that missed their last call as lost, then return the leases of these runs.

        Args:
            expected: Ids of runs that must have a lease; a run without one gets `START_TIMEOUT` to take it.
            others: Ids of runs that may have no lease.
            doubted: Ids of runs whose process may have died; they get their last call at once.
        """
        ids = {*expected, *others}
        known = self.leases(ids) if ids else {}
        missing = set(expected) - known.keys()
        doubts = {*doubted} | {lease.run_id for lease in known.values() if not lease.is_alive}
        doubts = {run_id for run_id in doubts if run_id in known and not known[run_id].is_lost}
        if not missing and not doubts:
            return known
        with self._writing() as (connection, now):
            _expect(connection, missing, now)
            # Checked again on the row itself: it may have been renewed in the meantime.
            in_doubt = sa.and_(
                leases.c.run_id.in_(doubts),
                leases.c.lost_at.is_(None),
                sa.or_(sa.not_(_is_alive(now)), leases.c.run_id.in_(set(doubted))),
            )
            missed = sa.and_(in_doubt, leases.c.called_at <= now - LAST_CALL)
            connection.execute(sa.update(leases).where(missed).values(lost_at=now))
            # A call in the future was written before the clock was set back.
            uncalled = sa.or_(leases.c.called_at.is_(None), leases.c.called_at > now)
            connection.execute(sa.update(leases).where(in_doubt, uncalled).values(called_at=now))
            return _read(connection, ids, now)


def _is_alive(now: datetime) -> sa.ColumnElement[bool]:
    """Return the condition that a lease is live. An expiry in the far future came from another clock."""
    return sa.and_(leases.c.expires_at > now, leases.c.expires_at <= now + _LONGEST)


def _expect(connection: sa.Connection, run_ids: Collection[str], now: datetime) -> None:
    """Write leases that processes must take, and remove old ones: each run begins here, verdicts are rare."""
    connection.execute(sa.delete(leases).where(leases.c.expires_at < now - _KEPT_AFTER_EXPIRY))
    for run_id in sorted(run_ids):
        insert = insert_new(connection, leases, "run_id")
        connection.execute(insert.values(run_id=run_id, expires_at=now + START_TIMEOUT))


def _read(connection: sa.Connection, run_ids: Collection[str], now: datetime) -> dict[str, Lease]:
    select = sa.select(leases, _is_alive(now).label("is_alive")).where(leases.c.run_id.in_(set(run_ids)))
    return {
        row["run_id"]: Lease(
            row["run_id"],
            row["worker_id"],
            row["host"],
            now - (row["renewed_at"] or row["started_at"]),
            bool(row["is_alive"]) and row["lost_at"] is None,
            row["lost_at"] is not None,
        )
        for row in connection.execute(select).mappings()
    }
