"""Dispatch of requests: claimed by a launcher, and released if no run starts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import sqlalchemy as sa

from export_pipeline.jobs.claims import NO_LIMITS, ScopeLimits, claim_extra, claim_rows, record_code_version
from export_pipeline.jobs.leases import LeaseKeeper
from export_pipeline.jobs.queries import PATIENCE
from export_pipeline.jobs.records import Attempt, Job
from export_pipeline.jobs.states import Status
from export_pipeline.jobs.storable_text import storable
from export_pipeline.jobs.tables import jobs

_CLAIM_REFRESHED = timedelta(seconds=15)


class Dispatcher(LeaseKeeper):
    """Dispatches pending requests to launchers, each to only one of them."""

    def claim(
        self,
        limit: int,
        *,
        patience: timedelta = PATIENCE,
        max_in_flight: int | None = None,
        who: str | None = None,
    ) -> list[Job]:
        """Claim the next requests, in order; no other claim gets them within `patience`.

        They stay pending until their run reports that it has started. A job that has not started by then can
        be claimed again, as the same attempt. The launcher uses `Attempt.run_key`, so the attempt gets one
        run however often it is dispatched. `Job.dispatches` counts the dispatches.

        Args:
            limit: Maximum number of requests.
            patience: Time after which a claimed job that has not started can be claimed again.
            max_in_flight: Maximum number of jobs in flight. Two concurrent claims may exceed it once.
            who: Name of the claimer.
        """
        with self._writing() as (connection, now):
            rows = claim_rows(
                connection,
                now,
                limit=limit,
                patience=patience,
                max_in_flight=max_in_flight,
                who=storable(who),
            )
        return [Job.of(row) for row in rows]

    def record_code_version(self, code: str) -> None:
        """Record the version of the code that claims requests from now on; see `claim_extra`."""
        with self._writing() as (connection, _):
            record_code_version(connection, code)

    def claim_extra(
        self, dataset: str, run_id: str, code: str, limits: ScopeLimits = NO_LIMITS
    ) -> Job | None:
        """Claim the next request of a dataset as an extra one of a run; None if none fits.

        It stays pending until the run reports that it has started. Windows of schedules, later attempts and
        requests that were dispatched before are left to runs of their own, and so is every request while one
        of higher priority is pending, or if others claim requests by other code than the run's.

        Args:
            code: Version of the run's code.
            limits: Maximum numbers of runs that work for a scope at a time.
        """
        with self._writing() as (connection, now):
            row = claim_extra(connection, now, dataset, run_id, code, PATIENCE, limits)
        return None if row is None else Job.of(row)

    def keep_claims(self, waiting: Sequence[Job]) -> None:
        """Renew the claims of jobs whose run is queued, so that nobody else claims them."""
        with self._writing() as (connection, now):
            old = sa.and_(jobs.c.status == Status.PENDING, jobs.c.claimed_at < now - _CLAIM_REFRESHED)
            ids = [job.id for job in waiting]
            connection.execute(sa.update(jobs).where(jobs.c.id.in_(ids), old).values(claimed_at=now))

    def requeue(self, attempt: Attempt) -> None:
        """Requeue a claimed job whose run ended before it started the job.

        If the attempt names a run, a claim of another one stands.
        """
        with self._writing() as (connection, _):
            waits = [*self._conditions(attempt), jobs.c.status == Status.PENDING]
            if attempt.run_id is not None:
                waits.append(jobs.c.claimed_by == attempt.run_id)
            connection.execute(sa.update(jobs).where(*waits).values(claimed_at=None))

    def release(self, attempts: Sequence[Attempt]) -> None:
        """Release claimed jobs that were not dispatched; the claim does not count as a dispatch."""
        with self._writing() as (connection, _):
            for attempt in attempts:
                waits = (*self._conditions(attempt), jobs.c.status == Status.PENDING, jobs.c.dispatches > 0)
                update = sa.update(jobs).where(*waits)
                connection.execute(update.values(claimed_at=None, dispatches=jobs.c.dispatches - 1))
