"""Cleanup of deleted scopes: cancels their requests, and makes their files due for removal.

A scope counts as deleted if the complete list of its dataset's scopes does not contain it. If the list is
empty, or many scopes are missing at once, the source may be at fault (a table that is being loaded, rules
that hide rows). Then nothing is ended until somebody confirms it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import sqlalchemy as sa

from export_pipeline.jobs.database import transaction
from export_pipeline.jobs.errors import SCOPE_DELETED
from export_pipeline.jobs.records import Job
from export_pipeline.jobs.sql_types import utc_now
from export_pipeline.jobs.states import EventKind, Status
from export_pipeline.jobs.tables import jobs
from export_pipeline.jobs.transitions import record_event

_FEW = 2
_SMALL_SHARE = 10

_OPEN = sa.and_(jobs.c.status.in_([Status.PENDING, Status.PROCESSING]), jobs.c.deleted_at.is_(None))
_WITH_FILE = sa.and_(
    jobs.c.status == Status.COMPLETED,
    jobs.c.deleted_at.is_(None),
    jobs.c.error_code.is_distinct_from(SCOPE_DELETED),
)


@dataclass(frozen=True, slots=True)
class DeletedScopes:
    """Scopes of a dataset that have requests or files in the ledger and are missing from the source.

    Attributes:
        gone: Scopes that count as deleted, found now or before.
        doubtful: Missing scopes that were left alone, because too many are missing at once.
        canceled: Number of requests that were canceled.
        due: Number of files that the next purge removes. Those under legal hold are not among them.
    """

    dataset: str
    gone: frozenset[str] = frozenset()
    doubtful: frozenset[str] = frozenset()
    canceled: int = 0
    due: int = 0


def datasets_with_scopes(engine: sa.Engine) -> list[str]:
    """Return the datasets in which some scope has an open request or a file."""
    select = sa.select(jobs.c.dataset).where(jobs.c.scope.is_not(None), sa.or_(_OPEN, _WITH_FILE)).distinct()
    with transaction(engine, write=False) as connection:
        return list(connection.scalars(select.order_by(jobs.c.dataset)))


def end_deleted_scopes(
    engine: sa.Engine,
    dataset: str,
    there: Collection[str],
    who: str | None,
    *,
    confirmed: bool = False,
    dry_run: bool = False,
) -> DeletedScopes:
    """Cancel the open requests of a dataset's deleted scopes, and make their files due for removal.

    Args:
        there: All scopes of the dataset, read in one snapshot of the source.
        who: The actor recorded in the jobs' events.
        confirmed: True if somebody has confirmed that many scopes, or all, were deleted.
        dry_run: Change nothing; return what would be done.

    Raises:
        LedgerError: the ledger cannot be read or written.
    """
    of_dataset = sa.and_(jobs.c.dataset == dataset, jobs.c.scope.is_not(None))
    live = sa.select(jobs.c.scope).where(of_dataset, sa.or_(_OPEN, _WITH_FILE)).distinct()
    ended = sa.select(jobs.c.scope).where(of_dataset, jobs.c.error_code == SCOPE_DELETED).distinct()
    with transaction(engine, write=not dry_run) as connection:
        missing = frozenset(connection.scalars(live)) - frozenset(there)
        gone = frozenset(connection.scalars(ended)) - frozenset(there)
        if not confirmed and (not there or len(missing) > max(_FEW, len(there) // _SMALL_SHARE)):
            return DeletedScopes(dataset, gone - missing, missing)
        in_missing = sa.and_(of_dataset, jobs.c.scope.in_(missing))
        if dry_run:
            canceled, due = (
                connection.scalars(sa.select(sa.func.count()).where(in_missing, those)).one()
                for those in (_OPEN, sa.and_(_WITH_FILE, ~jobs.c.legal_hold))
            )
            return DeletedScopes(dataset, gone | missing, canceled=canceled, due=due)
        reason = {"error_code": SCOPE_DELETED, "error_message": "The application has deleted its scope."}
        cancel = (
            sa.update(jobs)
            .where(in_missing, _OPEN)
            .values(status=Status.CANCELED, completed_at=utc_now(), **reason)
            .returning(*jobs.c)
        )
        canceled_rows = connection.execute(cancel).mappings().all()
        for row in canceled_rows:
            record_event(connection, Job.of(row), EventKind.CANCELED, who, {"reason": SCOPE_DELETED})
        expire = sa.update(jobs).where(in_missing, _WITH_FILE).values(expires_at=utc_now(), **reason)
        due = [*connection.scalars(expire.returning(jobs.c.legal_hold))].count(False)
    return DeletedScopes(dataset, gone | missing, canceled=len(canceled_rows), due=due)
