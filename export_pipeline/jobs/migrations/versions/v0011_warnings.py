"""A job says what its file does not hold as the source does; removed files are remembered until Dagster's
database has forgotten their content.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0011"
down_revision = "0010"

_COLUMNS = {
    "warnings": ("[]", "Sentences about the file."),
    "changed_cells": ("{}", "Reason, column, number of cells."),
}
_SAID = "a new row of export_jobs is a request: leave out everything that says what became of it"


def upgrade() -> None:
    sqlite = op.get_context().dialect.name == "sqlite"
    json = sa.JSON().with_variant(JSONB(), "postgresql")
    time = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")
    for name, (empty, comment) in _COLUMNS.items():
        column = sa.Column(name, json, nullable=False, server_default=empty, comment=comment)
        op.add_column("export_jobs", column)
    now = "(strftime('%Y-%m-%dT%H\\:%M\\:%f', 'now') || '000+00\\:00')" if sqlite else "now()"
    op.create_table(
        "export_removals",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("file_key", sa.Text, nullable=False, comment="Of a file that was removed from the store."),
        sa.Column("run_id", sa.Text, comment="The run that made the file."),
        sa.Column("removed_at", time, nullable=False, server_default=sa.text(now)),
        sa.PrimaryKeyConstraint("id", name="pk_export_removals"),
        comment="Removed files whose content Dagster's database may still hold.",
    )
    empty = " AND ".join(f"NEW.{name} = '{empty}'" for name, (empty, _) in _COLUMNS.items())
    if sqlite:
        op.execute(
            f"CREATE TRIGGER export_jobs_newborn_warnings BEFORE INSERT ON export_jobs WHEN NOT ({empty}) "
            f"BEGIN SELECT RAISE(ABORT, '{_SAID}'); END"
        )
        return
    op.execute(
        sa.text(
            f"""
            CREATE FUNCTION export_jobs_newborn_warnings() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                IF NOT ({empty}) THEN
                    RAISE check_violation USING MESSAGE = '{_SAID}';
                END IF;
                RETURN NEW;
            END
            $$
            """
        )
    )
    op.execute(
        "CREATE TRIGGER export_jobs_newborn_warnings BEFORE INSERT ON export_jobs "
        "FOR EACH ROW EXECUTE FUNCTION export_jobs_newborn_warnings()"
    )
