"""The database itself keeps jobs under legal hold: nobody deletes their rows or marks them as expired.

A row that is deleted by hand leaves a file without a job, which `purge` removes when its manifest expires.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"

_MESSAGE = "this export job is under legal hold; release it first (export-pipeline hold ID --release)"
_REMOVED = (
    "OLD.legal_hold AND NEW.legal_hold AND (NEW.status = 'expired' AND OLD.status <> 'expired' "
    "OR NEW.deleted_at IS NOT NULL AND OLD.deleted_at IS NULL)"
)
_EVENTS = (
    ("delete", "DELETE", "OLD.legal_hold"),
    ("update", "UPDATE OF status, deleted_at, legal_hold", _REMOVED),
)


def upgrade() -> None:
    if op.get_context().dialect.name == "sqlite":
        for name, event, condition in _EVENTS:
            op.execute(
                f"CREATE TRIGGER export_jobs_hold_{name} BEFORE {event} ON export_jobs WHEN {condition} "
                f"BEGIN SELECT RAISE(ABORT, '{_MESSAGE}'); END"
            )
        return
    op.execute(
        sa.text(
            f"""
            CREATE FUNCTION export_jobs_hold() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                RAISE check_violation USING MESSAGE = '{_MESSAGE}';
            END
            $$
            """
        )
    )
    for name, event, condition in _EVENTS:
        op.execute(
            f"CREATE TRIGGER export_jobs_hold_{name} BEFORE {event} ON export_jobs "
            f"FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION export_jobs_hold()"
        )
