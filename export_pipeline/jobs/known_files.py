"""Queries for the files that the ledger has on record."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import unquote

import sqlalchemy as sa

from export_pipeline.jobs.database import transaction
from export_pipeline.jobs.errors import SCOPE_DELETED
from export_pipeline.jobs.queries import Reader
from export_pipeline.jobs.sql_types import utc_now
from export_pipeline.jobs.states import Status
from export_pipeline.jobs.tables import jobs, removals
from export_pipeline.jobs.texts import storable
from export_pipeline.store.keys import scope_segment


@dataclass(frozen=True, slots=True)
class Removal:
    """A removed file whose content Dagster's database may still hold.

    Attributes:
        run_id: The run that made the file; None if not known.
    """

    id: int
    file_key: str
    run_id: str | None


class KnownFiles(Reader):
    """Reads the files of jobs and the removed files."""

    def owned(self, keys: Collection[str]) -> set[str]:
        """Return the keys that are the file of a completed job."""
        return self._recorded(keys, jobs.c.status == Status.COMPLETED, jobs.c.deleted_at.is_(None))

    def is_of_deleted_scope(self, key: str) -> bool:
        """Return whether a key is the file of jobs whose scopes were all deleted."""
        select = sa.select(jobs.c.error_code).where(
            jobs.c.file_key == storable(key), jobs.c.status == Status.COMPLETED
        )
        with self._reading() as connection:
            return set(connection.scalars(select)) == {SCOPE_DELETED}

    def written(self, keys: Collection[str]) -> set[str]:
        """Return the keys to which a job of this ledger, in any state, writes its file."""
        written = self._recorded(keys)
        for key in set(keys) - written:
            select = _writers(key)
            if select is None:
                continue
            with self._reading() as connection:
                rows = connection.execute(select).all()
            if any(_folder(row.scope) == key.split("/")[1] for row in rows):
                written.add(key)
        return written

    def _recorded(self, keys: Collection[str], *conditions: sa.ColumnElement[bool]) -> set[str]:
        """Return the keys that are or were the file of a job that meets the conditions."""
        select = sa.select(jobs.c.file_key).where(jobs.c.file_key.in_(list(keys)), *conditions)
        with self._reading() as connection:
            return {key for key in connection.scalars(select) if key is not None}

    def kept(self, limit: int, after: str | None = None) -> list[tuple[str, str]]:
        """Return id and file key of completed jobs whose file must exist, ordered by id.

        Args:
            limit: Maximum number of jobs.
            after: The last id of the previous page.
        """
        select = sa.select(jobs.c.id, jobs.c.file_key).where(
            jobs.c.status == Status.COMPLETED,
            jobs.c.file_key.is_not(None),
            sa.or_(jobs.c.expires_at.is_(None), jobs.c.expires_at > utc_now(), jobs.c.legal_hold),
        )
        if after is not None:
            select = select.where(jobs.c.id > after)
        with self._reading() as connection:
            rows = connection.execute(select.order_by(jobs.c.id).limit(limit))
            return [(job_id, str(key)) for job_id, key in rows]

    def removals(self, limit: int, after: int = 0) -> list[Removal]:
        """Return removed files whose content Dagster's database may still hold, ordered by id."""
        select = sa.select(removals.c.id, removals.c.file_key, removals.c.run_id)
        select = select.where(removals.c.id > after).order_by(removals.c.id).limit(limit)
        with self._reading() as connection:
            return [Removal(*row) for row in connection.execute(select)]

    def note_removal(self, file_key: str, run_id: str | None) -> None:
        """Record that a file without a job is being removed."""
        with transaction(self._engine, write=True) as connection:
            connection.execute(sa.insert(removals).values(file_key=file_key, run_id=run_id))

    def forget(self, removal: Removal) -> None:
        """Delete a removed file from the list."""
        with transaction(self._engine, write=True) as connection:
            connection.execute(sa.delete(removals).where(removals.c.id == removal.id))


def _writers(key: str) -> sa.Select[tuple[str | None]] | None:
    """Return a query for the scopes of jobs whose file may have this key; None if no job writes such a key.

    It does not rely on `file_key`: a job that died may have written its file without recording the key.
    """
    match key.split("/"):
        case ["exports", _, name]:
            try:
                job_id = str(uuid.UUID(stem := name.partition(".")[0]))
            except ValueError:
                return None
            return sa.select(jobs.c.scope).where(jobs.c.id == job_id) if job_id == stem else None
        case ["exports", _, dataset, cadence, name]:
            window = f"{unquote(cadence)}/{unquote(name.partition('.')[0])}"
            return sa.select(jobs.c.scope).where(
                jobs.c.dataset == storable(unquote(dataset)),
                jobs.c.window_key == storable(window),
                jobs.c.schedule_id.is_(None),
            )
    return None


def _folder(scope: str | None) -> str | None:
    return None if scope == "" else scope_segment(scope)
