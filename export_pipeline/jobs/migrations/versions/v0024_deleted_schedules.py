"""An export keeps the id of its schedule after the schedule was deleted.

It was set to NULL, and the export was then taken for one of a cadence, or for one that somebody had asked for
once: its mail went to recipients who had unsubscribed.
"""

from __future__ import annotations

import re

import sqlalchemy as sa
from alembic import op

from export_pipeline.jobs.errors import LedgerError

revision = "0024"
down_revision = "0023"

_FOREIGN_KEY = re.compile(
    r"""
    ,\s* (CONSTRAINT\s+\S+\s+)? FOREIGN\s+KEY\s* \(\s* ["'`\[]? schedule_id ["'`\]]? \s*\)
    \s*REFERENCES\s+ ["'`\[]? scheduled_exports ["'`\]]? \s* (\([^)]*\))?
    (\s+ON\s+(DELETE|UPDATE)\s+(SET\s+NULL|SET\s+DEFAULT|CASCADE|RESTRICT|NO\s+ACTION))* (?=\s*[,)])
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""The foreign key as SQLite may keep it: it quotes names when a table is renamed."""
# Many libraries write all columns of a row: an id that stays as it is may be of a schedule that was deleted.
_EVENTS = (
    ("insert", "INSERT", ""),
    ("update", "UPDATE OF schedule_id", "AND NEW.schedule_id {} OLD.schedule_id"),
)
_MESSAGE = "there is no schedule with this schedule_id"


def upgrade() -> None:
    _sqlite() if op.get_context().dialect.name == "sqlite" else _postgresql()


def _sqlite() -> None:
    connection = op.get_bind()
    # SQLite cannot drop a foreign key; it documents this way to do so, which changes no stored row.
    version = connection.scalar(sa.text("PRAGMA schema_version"))
    op.execute("PRAGMA writable_schema = ON")
    table = connection.scalar(
        sa.text("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = 'export_jobs'")
    )
    connection.execute(
        sa.text("UPDATE sqlite_master SET sql = :sql WHERE type = 'table' AND name = 'export_jobs'"),
        {"sql": _FOREIGN_KEY.sub("", table, count=1)},
    )
    op.execute(f"PRAGMA schema_version = {version + 1}")
    op.execute("PRAGMA writable_schema = RESET")  # read it anew
    if connection.execute(sa.text("PRAGMA foreign_key_list(export_jobs)")).first():
        raise LedgerError(
            "The foreign key of export_jobs.schedule_id cannot be removed, as its definition is not the "
            "ledger's own; nothing was changed. See its `sql` in sqlite_master."
        )
    for name, event, changes in _EVENTS:
        op.execute(
            f"CREATE TRIGGER export_jobs_schedule_id_{name} BEFORE {event} ON export_jobs "
            f"WHEN NEW.schedule_id IS NOT NULL {changes.format('IS NOT')} "
            "AND NOT EXISTS (SELECT 1 FROM scheduled_exports s WHERE s.id = NEW.schedule_id) "
            f"BEGIN SELECT RAISE(ABORT, '{_MESSAGE}'); END"
        )


def _postgresql() -> None:
    connection = op.get_bind()
    schema = connection.dialect.identifier_preparer.quote_identifier(
        connection.scalar(sa.text("SELECT current_schema()"))
    )
    op.drop_constraint("fk_export_jobs_schedule_id", "export_jobs", type_="foreignkey")
    # With the owner's rights: a role that inserts a job needs none on schedules.
    op.execute(
        sa.text(
            f"""
            CREATE FUNCTION {schema}.export_jobs_schedule_id() RETURNS trigger
            LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
            BEGIN
                IF NOT EXISTS (SELECT FROM {schema}.scheduled_exports s WHERE s.id = NEW.schedule_id) THEN
                    RAISE foreign_key_violation USING MESSAGE = '{_MESSAGE}';
                END IF;
                RETURN NEW;
            END
            $$
            """
        )
    )
    for name, event, changes in _EVENTS:
        op.execute(
            f"CREATE TRIGGER export_jobs_schedule_id_{name} BEFORE {event} ON {schema}.export_jobs "
            f"FOR EACH ROW WHEN (NEW.schedule_id IS NOT NULL {changes.format('IS DISTINCT FROM')}) "
            f"EXECUTE FUNCTION {schema}.export_jobs_schedule_id()"
        )
