"""An export keeps the id of its schedule after the schedule was deleted.

It was set to NULL, and the export was then taken for one of a cadence, or for one that somebody had asked for
once: its mail went to recipients who had unsubscribed.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"

_FOREIGN_KEY = (
    "CONSTRAINT fk_export_jobs_schedule_id FOREIGN KEY(schedule_id) "
    "REFERENCES scheduled_exports (id) ON DELETE SET NULL, \n\t"
)
_MESSAGE = "there is no schedule with this schedule_id"


def upgrade() -> None:
    _sqlite() if op.get_context().dialect.name == "sqlite" else _postgresql()


def _sqlite() -> None:
    connection = op.get_bind()
    # SQLite cannot drop a foreign key; it documents this way to do so, which changes no stored row.
    version = connection.scalar(sa.text("PRAGMA schema_version"))
    op.execute("PRAGMA writable_schema = ON")
    connection.execute(
        sa.text("UPDATE sqlite_master SET sql = replace(sql, :old, '') WHERE name = 'export_jobs'"),
        {"old": _FOREIGN_KEY},
    )
    op.execute(f"PRAGMA schema_version = {version + 1}")
    op.execute("PRAGMA writable_schema = OFF")
    for name, event in (("insert", "INSERT"), ("update", "UPDATE OF schedule_id")):
        op.execute(
            f"CREATE TRIGGER export_jobs_schedule_id_{name} BEFORE {event} ON export_jobs "
            "WHEN NEW.schedule_id IS NOT NULL "
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
    op.execute(
        f"CREATE TRIGGER export_jobs_schedule_id BEFORE INSERT OR UPDATE OF schedule_id "
        f"ON {schema}.export_jobs FOR EACH ROW WHEN (NEW.schedule_id IS NOT NULL) "
        f"EXECUTE FUNCTION {schema}.export_jobs_schedule_id()"
    )
