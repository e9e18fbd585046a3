"""Queries of the ledger: jobs and their events."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Sequence
from contextlib import AbstractContextManager, suppress
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self

import sqlalchemy as sa

from export_pipeline.jobs.claims import in_flight
from export_pipeline.jobs.database import open_engine, transaction
from export_pipeline.jobs.errors import LedgerError, UnknownJobError
from export_pipeline.jobs.records import OPERATOR, Event, Job, JobState, Place, Viewer
from export_pipeline.jobs.sql_types import UtcTime, utc_now
from export_pipeline.jobs.states import EventKind, Status
from export_pipeline.jobs.storable_text import storable
from export_pipeline.jobs.tables import deployment, events, jobs

PATIENCE = timedelta(minutes=1)
"""Time that a claimed job may take to become a run before it can be claimed again."""
_BATCH = 1000
"""Number of ids in a statement: databases limit its parameters."""
_IN_FIRST_ATTEMPT = sa.and_(
    jobs.c.status.in_([Status.PENDING, Status.PROCESSING]), jobs.c.attempt == 1, jobs.c.deleted_at.is_(None)
)


class Reader:
    """Reads the ledger at a SQLAlchemy URL of PostgreSQL or SQLite. Threads may share an instance.

    Args:
        connections: Connections to PostgreSQL that are kept.

    Every method raises LedgerUnavailableError if the database cannot be reached, and LedgerError if its
    tables are missing.

    Raises:
        LedgerError: the URL is malformed, or names another kind of database.
    """

    def __init__(self, url: str, connections: int = 2) -> None:
        self._engine = open_engine(url, connections)

    @property
    def engine(self) -> sa.Engine:
        """The connections, for rows beside the jobs."""
        return self._engine

    @classmethod
    def sharing(cls, reader: Reader) -> Self:
        """Return an instance that shares the reader's ledger and connections; the reader closes them."""
        shared = cls.__new__(cls)
        shared._engine = reader._engine
        return shared

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections, e.g. before a fork. The next use opens new ones."""
        self._engine.dispose()

    def get(self, job_id: str, viewer: Viewer = OPERATOR) -> Job:
        """Return a job.

        Raises:
            UnknownJobError: the job does not exist, was deleted, or the viewer may not see it.
        """
        with self._reading() as connection:
            row = connection.execute(
                sa.select(jobs).where(jobs.c.id == self._known(job_id), seen_by(viewer))
            ).mappings()
            job = row.one_or_none()
        if job is None:
            raise UnknownJobError(job_id)
        return Job.of(job)

    def get_all(self, job_ids: Collection[str], viewer: Viewer = OPERATOR) -> dict[str, Job]:
        """Return those of these jobs that exist and that the viewer may see, by the ids that were given."""
        known: dict[str, str] = {}
        for job_id in job_ids:
            with suppress(UnknownJobError):
                known[job_id] = self._known(job_id)
        visible = {
            job.id: job
            for job in self._jobs(sa.select(jobs).where(jobs.c.id.in_(set(known.values())), seen_by(viewer)))
        }
        return {job_id: visible[id] for job_id, id in known.items() if id in visible}

    def find(
        self,
        viewer: Viewer = OPERATOR,
        *,
        status: Iterable[Status] | None = None,
        dataset: str | None = None,
        schedule_id: str | None = None,
        created_after: datetime | None = None,
        idempotency_key: str | None = None,
        limit: int = 50,
        after: Job | Place | None = None,
    ) -> list[Job]:
        """Return the jobs that the viewer may see, newest first.

        Args:
            created_after: Only jobs that were requested after this time (aware).
            limit: Maximum number of jobs.
            after: The last job of the previous page, or its place.
        """
        select = sa.select(jobs).where(seen_by(viewer))
        if created_after is not None:
            select = select.where(jobs.c.created_at > sa.literal(created_after, UtcTime()))
        if status is not None:
            select = select.where(jobs.c.status.in_(list(status)))
        if dataset is not None:
            select = select.where(jobs.c.dataset == storable(dataset))
        if schedule_id is not None:
            select = select.where(jobs.c.schedule_id == schedule_id)
        if idempotency_key is not None:
            select = select.where(jobs.c.idempotency_key == storable(idempotency_key))
        if after is not None:
            last = jobs.alias("last")  # to compare with the stored time, which is a string in SQLite
            written = sa.select(last.c.created_at).where(last.c.id == after.id).scalar_subquery()
            at = sa.func.coalesce(written, sa.literal(after.created_at, UtcTime()))
            select = select.where(
                sa.or_(jobs.c.created_at < at, sa.and_(jobs.c.created_at == at, jobs.c.id < after.id))
            )
        return self._jobs(select.order_by(jobs.c.created_at.desc(), jobs.c.id.desc()).limit(limit))

    def states(self, job_ids: Collection[str]) -> dict[str, JobState]:
        """Return the states of jobs by id; deleted jobs are left out."""
        columns = (jobs.c.id, jobs.c.status, jobs.c.attempt, jobs.c.progress_percent, jobs.c.progress_step)
        select = sa.select(*columns).where(jobs.c.id.in_(job_ids), jobs.c.deleted_at.is_(None))
        with self._reading() as connection:
            return {id: JobState(Status(status), *rest) for id, status, *rest in connection.execute(select)}

    def count_pending(self, scope: str | None) -> int:
        """Return the number of requests of a scope that wait, without windows, which come last."""
        pending = sa.select(sa.func.count()).select_from(jobs)
        pending = pending.where(
            jobs.c.status == Status.PENDING,
            jobs.c.scope == scope,
            jobs.c.deleted_at.is_(None),
            sa.or_(jobs.c.window_key.is_(None), jobs.c.priority >= 0),
        )
        with self._reading() as connection:
            return connection.scalars(pending).one()

    def has_new_requests(self) -> bool:
        """Return whether there is a request that was never claimed."""
        new = sa.select(jobs.c.id).where(
            jobs.c.status == Status.PENDING, jobs.c.claimed_at.is_(None), jobs.c.deleted_at.is_(None)
        )
        with self._reading() as connection:
            return connection.execute(new.limit(1)).first() is not None

    def in_flight(self, patience: timedelta = PATIENCE) -> list[Job]:
        """Return jobs that are processing, or pending and claimed within `patience`; oldest first."""
        return self._jobs(self._in_flight(patience))

    def identical_in_flight(self, job: Job, patience: timedelta = PATIENCE) -> list[Job]:
        """Return other jobs in flight with an identical request, oldest first: their run can serve this job.

        A run that has started reads the database as of its start.
        """
        select = self._in_flight(patience).where(
            jobs.c.id != job.id,
            jobs.c.dataset == job.dataset,
            jobs.c.format == job.format,
            jobs.c.scope == job.scope,
        )
        return [other for other in self._jobs(select) if other.identity == job.identity]

    def of_run(self, run_id: str) -> list[Job]:
        """Return the jobs whose current or last run is this one; oldest first."""
        select = sa.select(jobs).where(jobs.c.run_id == run_id)
        return self._jobs(select.order_by(jobs.c.created_at, jobs.c.id))

    def requested_with(self, job: Job) -> list[Job]:
        """Return the jobs that request the same rows of any scope, and that the same schedule or cadence has
        requested for the same time; see `Job.shared_read_key`.

        Only those that have not ended, and are in their first attempt.
        """
        same = sa.and_(jobs.c.schedule_id == job.schedule_id, jobs.c.scheduled_for == job.scheduled_for)
        if job.schedule_id is None:
            same = sa.and_(jobs.c.schedule_id.is_(None), jobs.c.window_key == job.window_key)
        select = sa.select(jobs).where(same, jobs.c.dataset == job.dataset, _IN_FIRST_ATTEMPT)
        return [one for one in self._jobs(select) if one.shared_read_key == job.shared_read_key]

    def in_first_attempt(self, job_ids: Sequence[str]) -> dict[str, datetime]:
        """Return those jobs that have not ended, and are in their first attempt: created_at by id."""
        batches = [job_ids[first : first + _BATCH] for first in range(0, len(job_ids), _BATCH)]
        select = sa.select(jobs.c.id, jobs.c.created_at).where(_IN_FIRST_ATTEMPT)
        with self._reading() as connection:
            return {
                id: created_at
                for batch in batches
                for id, created_at in connection.execute(select.where(jobs.c.id.in_(batch)))
            }

    def expirable(self, limit: int = 100) -> list[Job]:
        """Return completed jobs due to expire and not under legal hold, most overdue first."""
        select = sa.select(jobs).where(
            jobs.c.status == Status.COMPLETED, jobs.c.expires_at <= utc_now(), ~jobs.c.legal_hold
        )
        return self._jobs(select.order_by(jobs.c.expires_at, jobs.c.id).limit(limit))

    def deployment(self) -> str:
        """Return the id of this deployment, which is written to the manifest of each of its files.

        Raises:
            LedgerError: the table of the id is empty.
        """
        with self._reading() as connection:
            id: str | None = connection.scalars(sa.select(deployment.c.id)).first()
        if id is None:
            raise LedgerError(
                "The table export_deployment is empty: bring its row back from a backup, or start "
                "with a new row by `INSERT INTO export_deployment DEFAULT VALUES`; "
                "older files without a request then stay."
            )
        return id

    def events(self, job_id: str) -> list[Event]:
        """Return the events of a job, in order, even if it was deleted. Empty if the job never existed."""
        with self._reading() as connection:
            select = sa.select(events).where(events.c.job_id == self._known(job_id)).order_by(events.c.id)
            rows = connection.execute(select).mappings().all()
        return [Event(**{**row, "kind": EventKind(row["kind"])}) for row in rows]

    def now(self) -> datetime:
        """Return the time by the database's clock (UTC)."""
        with self._reading() as connection:
            return connection.scalars(sa.select(utc_now())).one()

    def _in_flight(self, patience: timedelta) -> sa.Select[tuple[object, ...]]:
        return sa.select(jobs).where(in_flight(self.now() - patience)).order_by(jobs.c.created_at, jobs.c.id)

    def _jobs(self, select: sa.Select[tuple[object, ...]]) -> list[Job]:
        with self._reading() as connection:
            rows = connection.execute(select).mappings().all()
        return [Job.of(row) for row in rows]

    def _reading(self) -> AbstractContextManager[sa.Connection]:
        return transaction(self._engine, write=False)

    def _known(self, job_id: str) -> str:
        """Return a job id in the database's form.

        Raises:
            UnknownJobError: the id is not a UUID, which PostgreSQL would reject.
        """
        if self._engine.dialect.name == "postgresql":
            try:
                return str(uuid.UUID(job_id))
            except ValueError:
                raise UnknownJobError(job_id) from None
        return job_id


def seen_by(viewer: Viewer) -> sa.ColumnElement[bool]:
    """Return the condition that a job was not deleted and the viewer may see it."""
    mine = belongs_to(viewer, jobs.c.scope, jobs.c.requested_by, jobs.c.dataset)
    return sa.and_(jobs.c.deleted_at.is_(None), mine)


def belongs_to(
    viewer: Viewer, scope: sa.Column[str], person: sa.Column[str], dataset: sa.Column[str]
) -> sa.ColumnElement[bool]:
    """Return the condition that the viewer may see rows with the values in these columns."""
    seen: list[sa.ColumnElement[bool]] = []
    if viewer.datasets is not None:
        seen.append(dataset.in_(list(viewer.datasets)))
    if viewer.scopes is not None:
        named = [name for name in viewer.scopes if name is not None and storable(name) == name]
        in_scope = scope.in_(named)
        seen.append(sa.or_(in_scope, scope.is_(None)) if None in viewer.scopes else in_scope)
    if viewer.requested_by is not None:
        known = storable(viewer.requested_by) == viewer.requested_by
        seen.append(person == viewer.requested_by if known else sa.false())
    return sa.and_(sa.true(), *seen)
