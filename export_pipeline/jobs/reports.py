"""What people ask of the ledger beside jobs themselves: who got mail of a job."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from export_pipeline.jobs.reading import Reader
from export_pipeline.jobs.tables import deliveries


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

    def deliveries(self, job_id: str) -> list[Delivery]:
        """The mails of a job, oldest first."""
        columns = [deliveries.c[name] for name in Delivery.__slots__]
        select = sa.select(*columns).where(deliveries.c.job_id == self._known(job_id))
        with self._reading() as connection:
            rows = connection.execute(select.order_by(deliveries.c.created_at, deliveries.c.id)).mappings()
            return [Delivery(**row) for row in rows]
