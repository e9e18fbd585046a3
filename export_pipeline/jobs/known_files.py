"""Queries for the files that the ledger has on record."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import sqlalchemy as sa

from export_pipeline.jobs.claims import is_of_window
from export_pipeline.jobs.database import transaction
from export_pipeline.jobs.errors import SCOPE_DELETED, RefusedError
from export_pipeline.jobs.queries import Reader
from export_pipeline.jobs.records import Job, unrequested_id
from export_pipeline.jobs.sql_types import utc_now
from export_pipeline.jobs.states import Status
from export_pipeline.jobs.storable_text import storable
from export_pipeline.jobs.tables import jobs, removals
from export_pipeline.store.keys import NO_SCOPE, request_key, whole_key, window_key

_IDENTITY = (jobs.c.id, jobs.c.run_id, jobs.c.scope, jobs.c.dataset, jobs.c.window_key, jobs.c.schedule_id)
"""Columns that a file's key follows from."""


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
        select = sa.select(jobs.c.file_key).where(
            jobs.c.file_key.in_(list(keys)), jobs.c.status == Status.COMPLETED, jobs.c.deleted_at.is_(None)
        )
        with self._reading() as connection:
            return {key for key in connection.scalars(select) if key is not None}

    def ensure_not_held(self, key: str) -> None:
        """Raise if a key is the file of a job under legal hold, so that nobody replaces the file.

        Raises:
            RefusedError: it is.
        """
        with self._reading() as connection:
            _ensure_not_held(key, connection.execute(_completed_with(key)).all())

    @contextmanager
    def replacing(self, key: str) -> Iterator[None]:
        """Block legal holds on the file of a key while the caller replaces it.

        Raises:
            RefusedError: it is under legal hold already.
        """
        if not self.owned([key]):
            yield
            return
        with transaction(self._engine, write=True) as connection:
            _ensure_not_held(key, connection.execute(_completed_with(key).with_for_update()).all())
            yield

    def successor(self, job: Job) -> Job | None:
        """Return the completed job that has replaced a job's file under the same key, or None."""
        newer = _completed_with(str(job.file_key)).where(
            jobs.c.completed_at > job.completed_at, jobs.c.sha256 != job.sha256
        )
        newest = self._jobs(newer.with_only_columns(jobs).order_by(jobs.c.completed_at.desc()).limit(1))
        return newest[0] if newest else None

    def is_held(self, key: str) -> bool:
        """Return whether a job under legal hold, in any state, writes its file to this key."""
        for condition in _writers(key):
            with self._reading() as connection:
                rows = connection.execute(sa.select(*_IDENTITY).where(condition, jobs.c.legal_hold)).all()
            if any(_writes(row, key) for row in rows):
                return True
        return False

    def is_of_deleted_scope(self, key: str) -> bool:
        """Return whether a key is the file of jobs whose scopes were all deleted."""
        select = sa.select(jobs.c.error_code).where(
            jobs.c.file_key == storable(key), jobs.c.status == Status.COMPLETED
        )
        with self._reading() as connection:
            return set(connection.scalars(select)) == {SCOPE_DELETED}

    def written(self, keys: Collection[str]) -> set[str]:
        """Return the keys to which a job of this ledger, in any state, writes its file or parts of it.

        They follow from id, scope and window, not from `file_key`: a job that died may have written its file
        without recording it, and a row may record the key of any file.
        """
        with self._reading() as connection:
            written = {key for key in {whole_key(key) for key in keys} if _is_written(connection, key)}
        return {key for key in keys if whole_key(key) in written}

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


def _completed_with(key: str) -> sa.Select[tuple[Any, ...]]:
    """Return a query for the completed jobs that have a file."""
    select = sa.select(jobs.c.id, jobs.c.legal_hold)
    return select.where(jobs.c.file_key == key, jobs.c.status == Status.COMPLETED).order_by(jobs.c.id)


def _ensure_not_held(key: str, owners: Iterable[Any]) -> None:
    for owner in owners:
        if owner.legal_hold:
            raise RefusedError(
                f"{key} is the file of export job {owner.id}, which is under legal hold, so it is "
                f"not replaced. `export-pipeline hold {owner.id} --release` releases it.",
                Status.COMPLETED,
            )


def _writers(key: str) -> Iterator[sa.ColumnElement[bool]]:
    """Yield conditions on the jobs that may write this key, fast ones first; `_writes` decides."""
    yield jobs.c.file_key == key
    match key.split("/"):
        case ["exports", _, name]:
            with suppress(ValueError):
                yield jobs.c.id == str(uuid.UUID(name.partition(".")[0]))
        case ["exports", folder, dataset, cadence, name]:
            dataset = storable(unquote(dataset))
            window = storable(f"{unquote(cadence)}/{unquote(name.partition('.')[0])}")
            if "~" not in folder:  # else the scope was too long for a key
                scope = None if folder == NO_SCOPE else storable(unquote(folder))
                yield is_of_window(dataset, scope, window)
            else:
                of_window = (jobs.c.dataset == dataset, jobs.c.window_key == window)
                yield sa.and_(*of_window, jobs.c.schedule_id.is_(None))


def _is_written(connection: sa.Connection, key: str) -> bool:
    """Return whether a job writes this key."""
    for condition in _writers(key):
        rows = connection.execute(sa.select(*_IDENTITY).where(condition))
        if any(_writes(row, key) for row in rows.all()):
            return True
    return False


def _writes(job: Any, key: str) -> bool:
    """Return whether a key follows from a job's id, scope and window."""
    extension = key.rpartition("/")[2].partition(".")[2]
    with suppress(ValueError):  # the row holds an empty name, or the key has no extension
        keys = {request_key(job.scope, job.id, extension)}
        if job.window_key and job.schedule_id is None:
            cadence, _, window = job.window_key.partition("/")
            keys.add(window_key(job.scope, job.dataset, cadence, window, extension))
        return key in keys or job.id == unrequested_id(job.run_id, key)
    return False
