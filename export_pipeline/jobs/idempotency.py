"""Repeated requests: those with an idempotency key that was used before."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from export_pipeline.jobs.errors import IdempotencyError
from export_pipeline.jobs.records import Job
from export_pipeline.jobs.tables import jobs

_ASKED = ("dataset", "format", "filters", "columns", "options", "recipients", "priority", "webhook_id")


def find_repeated_request(connection: sa.Connection, values: Mapping[str, Any]) -> Job | None:
    """Return the job of the same request with the same key, or None. Concurrent requests wait for this one.

    Args:
        connection: In a write transaction.
        values: The columns of the new row, with its idempotency key.

    Raises:
        IdempotencyError: the key was used for another request, or for one that was deleted.
    """
    key = values["idempotency_key"]
    if connection.dialect.name == "postgresql":  # the lock that the trigger of the table takes
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(key, 0))))
    select = sa.select(jobs).where(
        jobs.c.idempotency_key == key,
        *(sa.func.coalesce(jobs.c[name], "") == (values[name] or "") for name in ("scope", "requested_by")),
    )
    row = connection.execute(select).mappings().one_or_none()
    if row is None:
        return None
    job = Job.of(row)
    for name in _ASKED:
        if getattr(job, name) != json.loads(json.dumps(values[name])):  # as the ledger returns it
            raise IdempotencyError(key, job.id, f"another request ({name} differs)")
    if job.deleted_at is not None:
        raise IdempotencyError(key, job.id, "a request that was deleted")
    return job
