"""A row comes in as a request and nothing else: what becomes of it is for the pipeline to say.

Otherwise who may insert could call a request completed with a file of somebody else's, or say that it belongs
to a run that makes one.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_ABSENT = [
    "progress_step",
    "total_rows",
    "row_count",
    "file_key",
    "file_name",
    "file_size",
    "sha256",
    "error_code",
    "error_message",
    "run_id",
    "claimed_at",
    "claimed_by",
    "started_at",
    "completed_at",
    "expires_at",
    "deleted_at",
]
_ZERO = {"status": "'pending'", "progress_percent": "0", "attempt": "1", "offers": "0"}
_NEWBORN = " AND ".join(
    [
        *(f"NEW.{name} = {value}" for name, value in _ZERO.items()),
        *(f"NEW.{name} IS NULL" for name in _ABSENT),
        "NOT NEW.legal_hold",
    ]
)
_OWN_WINDOW = (
    "(NEW.schedule_id IS NULL OR NEW.window_key IS NULL OR EXISTS (SELECT 1 FROM {schema}scheduled_exports s "
    "WHERE s.id = NEW.schedule_id AND coalesce(s.scope, '') = coalesce(NEW.scope, '')))"
)
_SAID = "a new row of export_jobs is a request: leave out everything that says what became of it"
_OTHER = "a window of a schedule is asked for in the scope of the schedule"


def upgrade() -> None:
    if op.get_context().dialect.name == "sqlite":
        for name, condition, said in [
            ("newborn", _NEWBORN, _SAID),
            ("own_window", _OWN_WINDOW.format(schema=""), _OTHER),
        ]:
            op.execute(
                f"CREATE TRIGGER export_jobs_{name} BEFORE INSERT ON export_jobs WHEN NOT ({condition}) "
                f"BEGIN SELECT RAISE(ABORT, '{said}'); END"
            )
        return
    connection = op.get_bind()
    schema = connection.dialect.identifier_preparer.quote_identifier(
        connection.scalar(sa.text("SELECT current_schema()"))
    )
    # With the owner's rights, as an application needs none on the schedules.
    op.execute(
        sa.text(
            f"""
            CREATE FUNCTION {schema}.export_jobs_newborn() RETURNS trigger
            LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
            BEGIN
                IF NOT ({_NEWBORN}) THEN
                    RAISE check_violation USING MESSAGE = '{_SAID}';
                END IF;
                IF NOT {_OWN_WINDOW.format(schema=f"{schema}.")} THEN
                    RAISE check_violation USING MESSAGE = '{_OTHER}';
                END IF;
                RETURN NEW;
            END
            $$
            """
        )
    )
    op.execute(
        f"CREATE TRIGGER export_jobs_newborn BEFORE INSERT ON {schema}.export_jobs "
        f"FOR EACH ROW EXECUTE FUNCTION {schema}.export_jobs_newborn()"
    )
