"""What people ask of the ledger beside jobs themselves: who got mail of a job."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Self

import sqlalchemy as sa

from export_pipeline.jobs.reading import Reader
from export_pipeline.jobs.sql_types import utc_now
from export_pipeline.jobs.states import Status
from export_pipeline.jobs.tables import deliveries, jobs


@dataclass(frozen=True, slots=True)
class Delivery:
    """A mail about a job to one recipient. Times are UTC."""

    recipient: str
    status: str
    error_message: str | None
    created_at: datetime
    sent_at: datetime | None


class Reports(Reader):
    """Reads what no single job says."""

    @classmethod
    def beside(cls, reader: Reader) -> Self:
        """Of the same ledger, over the same connections; the reader closes them."""
        reports = cls.__new__(cls)
        reports._engine = reader._engine
        return reports

    def deliveries(self, job_id: str) -> list[Delivery]:
        """The mails of a job, oldest first."""
        columns = [deliveries.c[name] for name in Delivery.__slots__]
        select = sa.select(*columns).where(deliveries.c.job_id == self._known(job_id))
        with self._reading() as connection:
            rows = connection.execute(select.order_by(deliveries.c.created_at, deliveries.c.id)).mappings()
            return [Delivery(**row) for row in rows]

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
