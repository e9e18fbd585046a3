"""Which files the ledger knows of."""

from __future__ import annotations

from collections.abc import Collection
from typing import Self

import sqlalchemy as sa

from export_pipeline.jobs.reading import Reader
from export_pipeline.jobs.sql_types import utc_now
from export_pipeline.jobs.states import Status
from export_pipeline.jobs.tables import jobs


class KnownFiles(Reader):
    """Reads which files jobs have."""

    @classmethod
    def beside(cls, reader: Reader) -> Self:
        """Of the same ledger, over the same connections; the reader closes them."""
        made = cls.__new__(cls)
        made._engine = reader._engine
        return made

    def owned(self, keys: Collection[str]) -> set[str]:
        """Those of some keys that are the file of a completed job."""
        select = sa.select(jobs.c.file_key).where(
            jobs.c.file_key.in_(list(keys)), jobs.c.status == Status.COMPLETED, jobs.c.deleted_at.is_(None)
        )
        with self._reading() as connection:
            return {key for key in connection.scalars(select) if key is not None}

    def kept(self, limit: int, after: str | None = None) -> list[tuple[str, str]]:
        """Id and file key of completed jobs whose file must be there, in the order of ids.

        Args:
            limit: At most so many.
            after: The last id of the page before.
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
