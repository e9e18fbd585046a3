"""Legal hold ends by a statement of its own, and no TRUNCATE or change of an id goes around it.

A statement that released and expired a row at once left the file to the next purge, and so did a row that was
truncated or got another id or window, from which the file's key follows.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"

_MESSAGE = "this export job is under legal hold; release it first (export-pipeline hold ID --release)"
_REMOVED = (
    "NEW.status = 'expired' AND OLD.status <> 'expired' "
    "OR NEW.deleted_at IS NOT NULL AND OLD.deleted_at IS NULL"
)
_IDENTITY = ("id", "window_key", "schedule_id")


def upgrade() -> None:
    is_sqlite = op.get_context().dialect.name == "sqlite"
    differs = "IS NOT" if is_sqlite else "IS DISTINCT FROM"
    changed = " OR ".join(f"NEW.{column} {differs} OLD.{column}" for column in _IDENTITY)
    condition = f"OLD.legal_hold AND ({_REMOVED} OR {changed})"
    if is_sqlite:
        op.execute("DROP TRIGGER IF EXISTS export_jobs_hold_update")
        op.execute(
            f"CREATE TRIGGER export_jobs_hold_update BEFORE UPDATE ON export_jobs WHEN {condition} "
            f"BEGIN SELECT RAISE(ABORT, '{_MESSAGE}'); END"
        )
        return
    op.execute("DROP TRIGGER IF EXISTS export_jobs_hold_update ON export_jobs")
    op.execute(
        f"CREATE TRIGGER export_jobs_hold_update BEFORE UPDATE ON export_jobs "
        f"FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION export_jobs_hold()"
    )
    op.execute(
        sa.text(
            """
            CREATE OR REPLACE FUNCTION export_jobs_hold_truncate() RETURNS trigger LANGUAGE plpgsql AS $$
            DECLARE
                held text;
            BEGIN
                EXECUTE format(
                    'SELECT id FROM %I.%I WHERE legal_hold LIMIT 1', TG_TABLE_SCHEMA, TG_TABLE_NAME
                ) INTO held;
                IF held IS NOT NULL THEN
                    RAISE check_violation USING MESSAGE = 'export job ' || held || ' is under legal hold; '
                        'release it first (export-pipeline hold ID --release)';
                END IF;
                RETURN NULL;
            END
            $$
            """
        )
    )
    op.execute("DROP TRIGGER IF EXISTS export_jobs_hold_truncate ON export_jobs")
    op.execute(
        "CREATE TRIGGER export_jobs_hold_truncate BEFORE TRUNCATE ON export_jobs "
        "FOR EACH STATEMENT EXECUTE FUNCTION export_jobs_hold_truncate()"
    )
